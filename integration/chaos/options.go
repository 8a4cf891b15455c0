package main

import (
	"fmt"
	"math/rand"
	"slices"
	"strings"
	"time"
)

// Options decide a run. What a flag does not say, the seed does.
type Options struct {
	Seed       int64         `json:"seed"`
	Servers    int           `json:"servers"`
	Processors int           `json:"processors"`
	Store      string        `json:"store"`  // of the archive: files or s3
	Faults     []string      `json:"faults"` // names of the table faults
	Quiet      time.Duration `json:"quiet"`  // before the first fault
	Storm      time.Duration `json:"storm"`  // while faults are made
	Calm       time.Duration `json:"calm"`   // traffic after the last heal
	Bug        string        `json:"bug,omitempty"`
	Least      int           `json:"least,omitempty"` // kinds of fault that the seed draws at least
}

// draw fills what is not given: a quarter of the runs has no fault, a quarter
// one, a quarter two, and a quarter three or more, up to all; Least lifts those
// that have fewer.
func (o *Options) draw() {
	rng := rand.New(rand.NewSource(o.Seed))
	count := rng.Intn(4)
	if count == 3 {
		count += rng.Intn(len(faults))
	}
	count = max(count, o.Least)
	processors, order := 2+rng.Intn(4), rng.Perm(len(faults))
	if o.Servers == 0 {
		o.Servers = 1
		if rng.Intn(3) == 0 && possibleNetwork() == nil {
			o.Servers = 3
		}
	}
	if o.Processors == 0 {
		o.Processors = processors
	}
	if store := rng.Intn(4); o.Store == "" {
		o.Store = storeFiles
		if store == 0 {
			o.Store = storeS3
		}
	}
	if o.Faults == nil {
		o.Faults = []string{}
		for _, i := range order {
			if f := faults[i]; len(o.Faults) < count && f.possible(*o) == nil {
				o.Faults = append(o.Faults, f.name)
			}
		}
		slices.Sort(o.Faults)
	}
	if o.Quiet == 0 {
		o.Quiet = 2 * time.Second
	}
	if o.Storm == 0 {
		o.Storm = 10*time.Second + time.Duration(len(o.Faults))*time.Second
	}
	if o.Calm == 0 {
		o.Calm = 3 * time.Second
	}
}

// validate refuses faults that are not in the table, or not possible here.
func (o *Options) validate() error {
	for _, name := range o.Faults {
		f := faultNamed(name)
		if f == nil {
			return fmt.Errorf("fault %q is not in the table; there are %s", name, strings.Join(faultNames(), ", "))
		}
		if err := f.possible(*o); err != nil {
			return fmt.Errorf("fault %s: %w", name, err)
		}
	}
	if o.Servers != 1 && o.Servers != 3 {
		return fmt.Errorf("%d servers: use 1 or 3", o.Servers)
	}
	if o.Store != storeFiles && o.Store != storeS3 {
		return fmt.Errorf("store %q: use %s or %s", o.Store, storeFiles, storeS3)
	}
	return nil
}

// again is the command that makes the same run.
func (o *Options) again() string {
	s := fmt.Sprintf("go run ./integration/chaos -seed %d -servers %d -processors %d -store %s -faults %s -storm %s",
		o.Seed, o.Servers, o.Processors, o.Store, cmpList(o.Faults), o.Storm)
	if o.Bug != "" {
		s += fmt.Sprintf(" -bug %q", o.Bug)
	}
	return s
}

// cmpList is a list as the flag takes it.
func cmpList(list []string) string {
	if len(list) == 0 {
		return "none"
	}
	return strings.Join(list, ",")
}
