package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/dermai/millrace/internal/child"
)

// brokerConf is deploy/nats.conf without its users, on another port and with
// room for a longer run.
const brokerConf = `
server_name: %q
listen: %q
max_payload: 1MB
jetstream { store_dir: %q, max_memory_store: 64MB, max_file_store: 40GB, sync_interval: always }
`

// clusterConf makes a server one of several. Clients know all of them from the start.
const clusterConf = `
cluster { name: bench, listen: %q, no_advertise: true, routes: [%s] }
`

// servers is how many there are, and how many copies of each stream.
func (c config) servers() int { return max(1, c.Servers) }

func serverName(i int) string { return fmt.Sprintf("nats-%d", i+1) }

// startServer starts a nats-server, also once more.
func (d *deployment) startServer(i int) (err error) {
	d.brokers[i], err = d.launch("nats-server", "-c", serverName(i)+".conf")
	return err
}

// configure writes the configuration of the servers and of all programs.
func (d *deployment) configure(rules []string) error {
	var urls, routes []string
	texts, addrs := map[string]string{}, make([]string, 2*d.servers()) // for clients, then for servers
	for i := range addrs {
		var err error
		if addrs[i], err = child.FreeAddr(); err != nil {
			return err
		}
	}
	of, among := addrs[:d.servers()], addrs[d.servers():]
	for i := range of {
		urls = append(urls, "nats://"+of[i])
		routes = append(routes, fmt.Sprintf("%q", "nats-route://"+among[i]))
	}
	for i := range of {
		text := fmt.Sprintf(brokerConf, serverName(i), of[i], filepath.Join(d.dir, serverName(i)))
		if d.servers() > 1 {
			text += fmt.Sprintf(clusterConf, among[i], strings.Join(routes, ", "))
		}
		texts[serverName(i)+".conf"] = text
	}
	list, err := json.Marshal(append([]string{}, rules...))
	if err != nil {
		return err
	}
	d.url = strings.Join(urls, ",")
	texts["millrace.yaml"] = fmt.Sprintf("data: %q\nnats: {url: %q}\nreplicas: %d\nrules: %s\n", d.dir, d.url, d.servers(), list)
	for name, text := range texts {
		if err := os.WriteFile(filepath.Join(d.dir, name), []byte(text), 0o600); err != nil {
			return err
		}
	}
	return nil
}

// inStep waits until every stream has a leader, and every copy of it all that the
// leader has. It returns the leaders' names, by stream.
func (d *deployment) inStep(ctx context.Context) (leaders map[string]string, err error) {
	err = until(ctx, "every copy of every stream is current", func() (bool, error) {
		leaders = map[string]string{}
		list := d.js.ListStreams(ctx)
		for s := range list.Info() {
			if s.Cluster == nil || s.Cluster.Leader == "" || len(s.Cluster.Replicas) != d.servers()-1 {
				return false, nil
			}
			for _, r := range s.Cluster.Replicas {
				if !r.Current || r.Offline {
					return false, nil
				}
			}
			leaders[s.Config.Name] = s.Cluster.Leader
		}
		return list.Err() == nil && len(leaders) > 0, nil
	})
	return leaders, err
}
