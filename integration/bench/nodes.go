package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"time"
)

// nodesResult is how long it takes until work flows as before when one of three
// servers is killed, under the traffic of an outage.
type nodesResult struct {
	recoveries
	Led []int `json:"led"` // streams that the server led
	count
}

func measureNodes(ctx context.Context, c config) (_ *nodesResult, err error) {
	c.Rate, c.Servers = outageEvents, 3
	s, err := startSteady(ctx, c, "nodes")
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, s.close()) }()
	r := new(nodesResult)
	for i := range c.Nodes {
		victim := i % c.Servers
		leads, err := s.inStep(ctx)
		if err != nil {
			return nil, err
		}
		if err := s.calm(ctx); err != nil {
			return nil, err
		}
		before, err := s.ends(ctx)
		if err != nil {
			return nil, err
		}
		killed := time.Now()
		s.brokers[victim].kill()
		stored, err := s.recover(ctx, killed, before, &r.recoveries)
		if err != nil {
			return nil, fmt.Errorf("%s is killed: %w", serverName(victim), err)
		}
		r.Stored, r.Led = append(r.Stored, slices.Max(stored)), append(r.Led, leads[serverName(victim)])
		if err := s.startServer(victim); err != nil {
			return nil, err
		}
	}
	r.sort()
	r.count, err = s.end(ctx)
	return r, err
}

func (r *nodesResult) print(out io.Writer) error {
	fmt.Fprintf(out, "Streams that the killed server led: %v\n\n", r.Led)
	return table(out, "until\tn\tp50\tp99\tmost", r.rows("")...)
}
