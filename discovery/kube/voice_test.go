package kube

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	corev1 "k8s.io/api/core/v1"
	metav1 "k8s.io/apimachinery/pkg/apis/meta/v1"
	"k8s.io/apimachinery/pkg/types"

	"github.com/meridian-lb/meridian/fleet"
)

func said(u fleet.Update) string {
	var b strings.Builder
	if u.Whole {
		b.WriteString("whole ")
	}
	for _, f := range u.Put {
		fmt.Fprintf(&b, "+%s ", f.Name)
	}
	for _, n := range u.Gone {
		fmt.Fprintf(&b, "-%s ", n.Name)
	}
	if u.Stale != "" {
		fmt.Fprintf(&b, "stale(%s) ", u.Stale)
	}
	return strings.TrimSpace(b.String())
}

// A diary of what a voice says.
func TestVoice(t *testing.T) {
	var heard []string
	known := []fleet.Update{
		{Source: "i/kube/eu", Put: []fleet.Fact{fleet.NewFact("old", &fleet.Zone{Name: "old"}), fleet.NewFact("p", fleet.Problems{{Reason: "x"}})}},
		{Source: "i/kube/us", Put: []fleet.Fact{fleet.NewFact("other", &fleet.Zone{Name: "other"})}},
	}
	v := newVoice("i/kube/eu", func(_ context.Context, u fleet.Update) { heard = append(heard, said(u)) }, known)
	say := func(whole bool, stale string, put string, gone ...string) {
		n := news{}
		for name := range strings.FieldsSeq(put) {
			n.put(name, &fleet.Zone{Name: name})
		}
		for _, name := range gone {
			n.gone(fleet.KindZone, name)
		}
		v.say(t.Context(), n, whole, stale, time.Time{})
	}
	say(false, "dead", "")
	say(false, "dead", "")
	say(true, "dead", "") // a whole has to wait for touch
	say(false, "", "e")   // what others know may be newer than what is remembered
	say(true, "", "a b")
	say(false, "", "a b")
	say(false, "", "c", "a", "never")
	say(false, "dead", "")
	say(false, "dead", "d")
	say(false, "", "")
	v.end(t.Context())
	want := []string{"stale(dead)", "+e stale(it has not been read since the daemon started)", "whole +a +b +e +old", "+c -a", "stale(dead)", "+d stale(dead)", "", "whole"}
	if !slices.Equal(heard, want) {
		t.Errorf("\n got %q\nwant %q", heard, want)
	}
}

// A list is one change, and what it does not show anew is none.
func TestShelf(t *testing.T) {
	var got []string
	s := &shelf[*corev1.Service]{
		strip: stripService,
		group: func(o *corev1.Service) (fleet.ServiceName, bool) {
			return fleet.ServiceName{Name: o.Labels["meridian.dev/federate"]}, true
		},
		changed: func(list []change[*corev1.Service], whole bool) {
			line := ""
			for _, c := range list {
				sign := map[[2]bool]string{{true, false}: "+", {false, true}: "-"}[[2]bool{c.came, c.went}]
				line += sign + c.name.Name
			}
			got = append(got, fmt.Sprintf("%s %v", line, whole))
		},
	}
	service := func(name, version string) any {
		return &corev1.Service{ObjectMeta: metav1.ObjectMeta{Name: name, ResourceVersion: version, UID: types.UID(name),
			Labels: map[string]string{"meridian.dev/federate": "true", "other": "x"}, Annotations: map[string]string{"a": "b"}}, Spec: corev1.ServiceSpec{ClusterIP: "10.0.0.1"}}
	}
	if s.ready() {
		t.Error("it is ready before a list")
	}
	for _, err := range []error{
		s.Replace([]any{service("a", "1")}, "1"), s.Add(service("b", "2")), s.Update(service("b", "3")), s.Delete(service("a", "1")), s.Delete(service("a", "1")),
		s.Replace([]any{service("b", "3")}, "4"), s.Replace([]any{service("c", "5")}, "5"), s.Resync(),
	} {
		if err != nil {
			t.Error(err)
		}
	}
	slices.Sort(got[5:])
	want := []string{"+a true", "+b false", "b false", "-a false", " true"}
	if !slices.Equal(got[:5], want) || len(got) != 6 || !strings.Contains(got[5], "+c") || !strings.Contains(got[5], "-b") {
		t.Errorf("%q", got)
	}
	if s.Add(&corev1.Node{}) == nil || s.Delete(&corev1.Node{}) == nil || s.Replace([]any{&corev1.Node{}}, "9") == nil {
		t.Error("a Node was taken for a Service")
	}
	c, ok := s.get("", "c")
	if !ok || c.Annotations != nil || len(c.Labels) != 1 || c.Spec.ClusterIP != "" || len(s.of(fleet.ServiceName{Name: "true"})) != 1 || s.listed() != 3 {
		t.Errorf("%+v", c)
	}
}
