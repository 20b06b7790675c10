package main

import (
	"context"
	"reflect"

	"github.com/meridian-lb/meridian/fleet"
)

// faults tells what a voice found wrong in people's objects, as facts of its own
// source, whenever that changes. What was told by an earlier process is replaced
// by the first telling. One goroutine at a time.
type faults struct {
	voice  string // names the fact
	source string
	tell   fleet.Tell

	told bool
	last []fleet.Problem
}

func (f *faults) say(ctx context.Context, problems []fleet.Problem) {
	if f.told && reflect.DeepEqual(problems, f.last) {
		return
	}
	f.told, f.last = true, problems
	u := fleet.Update{Source: f.source, Whole: true}
	if len(problems) > 0 {
		u.Put = []fleet.Fact{fleet.NewFact(f.voice, fleet.Problems(problems))}
	}
	f.tell(ctx, u)
}

// faultsOf is where a voice's problems are told.
func (d *daemon) faultsOf(voice string) *faults {
	return &faults{voice: voice, source: d.source(voice), tell: d.tell}
}
