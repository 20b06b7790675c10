package main

import (
	"fmt"
	"time"

	"github.com/meridian-lb/meridian/bench/role"
)

// command and reply are what the processes say to each other.
type command struct {
	Do     string
	Design string `json:",omitempty"`
	Round  int    `json:",omitempty"`
}

type reply struct {
	CPU        time.Duration `json:",omitempty"` // of the process so far, user and system
	At         int64         `json:",omitempty"` // Unix nanoseconds
	Bytes      int64         `json:",omitempty"` // of responses
	FirstBytes int64         `json:",omitempty"` // of the first subscriber's sync
	Resources  int64         `json:",omitempty"` // received
}

type process = role.Process[command, reply]

// start runs this program again in a role and waits until it is ready.
func start(o options, name, design string) (*process, error) {
	return role.Start[command, reply](command{Do: "ready"}, "-role", name, "-design", design, "-dir", o.dir, "-services", fmt.Sprint(o.services),
		"-endpoints", fmt.Sprint(o.endpoints), "-subscribers", fmt.Sprint(o.subscribers), "-profile", o.profile)
}
