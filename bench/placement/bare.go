package main

import (
	"context"
	"fmt"
	"io"
	"time"

	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/apis/meta/v1/unstructured"
	"k8s.io/apimachinery/pkg/runtime/schema"
	"k8s.io/client-go/dynamic"

	"github.com/meridian-lb/meridian/bench/role"
)

// bareWrites are enough to tell what one costs.
const bareWrites = 2000

// bare is the role of a client that only writes: it gets, applies and deletes objects
// like those that are placed, in one member, and knows nothing of them.
func bare(o options, in io.Reader, out io.Writer) error {
	cfg, client, err := access(o, memberName(0))
	if err != nil {
		return err
	}
	c, err := dynamic.NewForConfigAndClient(cfg, client)
	if err != nil {
		return err
	}
	return role.Obey(in, out, func(cmd command) (reply, error) {
		switch cmd.Do {
		case "usage":
			return usage()
		case "write", "delete":
			for i := range bareWrites {
				if err := bareWrite(c, i, cmd.Do); err != nil {
					return reply{}, err
				}
			}
		}
		return reply{}, nil
	})
}

func bareWrite(c dynamic.Interface, i int, verb string) error {
	u := &unstructured.Unstructured{Object: template(i, 0)}
	resource := map[string]schema.GroupVersionResource{}
	for _, r := range ofMember {
		resource[r.kind] = schema.GroupVersionResource{Group: r.group, Version: r.version, Resource: r.name}
	}
	u.SetNamespace("bare")
	on := c.Resource(resource[u.GetKind()]).Namespace("bare")
	if verb == "delete" {
		return on.Delete(context.Background(), u.GetName(), metav1.DeleteOptions{})
	}
	if _, err := on.Get(context.Background(), u.GetName(), metav1.GetOptions{}); err == nil {
		return fmt.Errorf("%s is there already", u.GetName())
	}
	_, err := on.Apply(context.Background(), u.GetName(), u, metav1.ApplyOptions{FieldManager: "bare"})
	return err
}

// floor measures what a bare client's write costs.
func (b *bench) floor() error {
	p, err := role.Start[command, reply](command{Do: "ready"}, b.arguments("bare")...)
	if err != nil {
		return err
	}
	defer p.Stop()
	before, err := p.Ask(command{Do: "usage"})
	if err != nil {
		return err
	}
	if _, err := p.Ask(command{Do: "write"}); err != nil {
		return err
	}
	after, err := p.Ask(command{Do: "usage"})
	if err != nil {
		return err
	}
	b.bare = (after.CPU - before.CPU) / bareWrites
	b.say("a bare client's get and apply of one object: %.0f µs of CPU, %d allocations", float64(b.bare)/float64(time.Microsecond), (after.Mallocs-before.Mallocs)/bareWrites)
	_, err = p.Ask(command{Do: "delete"})
	return err
}
