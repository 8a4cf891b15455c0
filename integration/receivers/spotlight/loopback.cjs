// Preloaded with node --require: what listens on a port listens on 127.0.0.1
// alone. Spotlight itself has no setting for that.
"use strict";
const net = require("node:net");
const listen = net.Server.prototype.listen;
net.Server.prototype.listen = function (first, ...rest) {
  if (first !== null && typeof first === "object") {
    return listen.call(this, "port" in first ? { ...first, host: "127.0.0.1" } : first, ...rest);
  }
  if (typeof rest[0] === "string") rest.shift(); // the host
  return listen.call(this, first, "127.0.0.1", ...rest.filter((x) => x !== undefined));
};
