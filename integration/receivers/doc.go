// Package receivers sends notifications and errors to real servers, so that what
// the tests of package sinks think of the other side is checked against it.
//
// Spotlight listens on every address; loopback.cjs keeps it on this machine's own.
//
// Slack has no server to run. slack-go's slacktest is none either: it is a stub of
// the methods that its client calls, answers chat.postMessage with ok whatever the
// blocks are, and knows neither webhooks nor chat.update. The stub of sinkstest
// checks more of what Slack documents.
package receivers
