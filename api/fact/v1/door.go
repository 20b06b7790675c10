package factv1

import (
	"cmp"
	"fmt"
	"math"
	"net/netip"
	"slices"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"

	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// What a reader accepts at most. Lists and lengths are bounded so that one fact
// cannot fill a reader's memory; none of the bounds is near what a fleet needs.
const (
	MaxFacts    = 100_000 // in one Update: put and gone together
	MaxName     = 1024    // bytes of a source or a fact's name
	maxWord     = 253     // bytes of a cluster, region, service ...: a DNS name's length
	maxText     = 4096    // bytes of a sentence
	maxPath     = 4096    // bytes of a path
	maxData     = 64 << 10
	maxSmall    = 1024   // gateways, regions, targets, ports
	maxLarge    = 20_000 // endpoints, routes, records, client networks
	maxAge      = 10 * 365 * 24 * time.Hour
	maxTTL      = 68 * 365 * 24 * time.Hour // 2^31 seconds (RFC 2181 §8)
	maxInterval = 24 * time.Hour
	maxCount    = 1 << 30
	maxOrder    = 1 << 53
)

// door reads what comes from outside. It keeps the first fault it meets and
// returns zero values from then on, so that a converter reads like the type it
// makes and asks once, at its end.
type door struct {
	now time.Time
	err error
}

func (d *door) refuse(format string, args ...any) {
	if d.err == nil {
		d.err = fmt.Errorf(format, args...)
	}
}

// label is a name that may hold spaces and slashes; never empty, no control characters.
func (d *door) label(field, s string) string {
	if s == "" {
		d.refuse("%s is empty", field)
	}
	return d.sentence(field, s, MaxName)
}

// word is a name without slashes and spaces; never empty.
func (d *door) word(field, s string) string {
	if s == "" {
		d.refuse("%s is empty", field)
	}
	return d.maybeWord(field, s)
}

// maybeWord is a word that may be absent.
func (d *door) maybeWord(field, s string) string {
	if strings.ContainsFunc(s, func(r rune) bool { return r == '/' || unicode.IsSpace(r) }) {
		d.refuse("%s %.40q holds a slash or space", field, s)
	}
	return d.sentence(field, s, maxWord)
}

// text is for people; it may be empty.
func (d *door) text(field, s string) string { return d.sentence(field, s, maxText) }

func (d *door) sentence(field, s string, most int) string {
	switch {
	case len(s) > most:
		d.refuse("%s is %d bytes long, at most %d are taken", field, len(s), most)
	case !utf8.ValidString(s):
		d.refuse("%s is not UTF-8", field)
	case strings.ContainsFunc(s, unicode.IsControl):
		d.refuse("%s %.40q holds a control character", field, s)
	}
	return s
}

// oneOf is one of a few words of ours.
func oneOf[T ~string](d *door, field, s string, words ...T) T {
	if !slices.Contains(words, T(s)) {
		d.refuse("%s %.40q is not known", field, s)
	}
	return T(s)
}

// dnsName is a host or domain name: lower case, absolute or not as the caller
// says; "*" may be its first label.
func (d *door) dnsName(field, s string, absolute bool) string {
	rest := s
	if absolute {
		var ok bool
		if rest, ok = strings.CutSuffix(s, "."); !ok {
			d.refuse("%s %.40q does not end with a dot", field, s)
		}
	}
	if len(s) > maxWord+1 {
		d.refuse("%s is %d bytes long, at most %d are taken", field, len(s), maxWord+1)
		return s
	}
	if rest == "" && absolute {
		return s // the root
	}
	rest = strings.TrimPrefix(rest, "*.")
	for l := range strings.SplitSeq(rest, ".") {
		if l == "" || len(l) > 63 || strings.ContainsFunc(l, notInLabel) {
			d.refuse("%s %.40q is no lower-case DNS name", field, s)
		}
	}
	return s
}

func notInLabel(r rune) bool {
	return (r < 'a' || r > 'z') && (r < '0' || r > '9') && r != '-' && r != '_'
}

// amount is a finite number that is not negative.
func (d *door) amount(field string, f float64) float64 {
	if math.IsNaN(f) || math.IsInf(f, 0) || f < 0 {
		d.refuse("%s is %v, which is no amount", field, f)
	}
	return f
}

func (d *door) port(field string, p uint32) uint16 {
	if p == 0 {
		d.refuse("%s is 0", field)
	}
	return d.maybePort(field, p)
}

func (d *door) maybePort(field string, p uint32) uint16 {
	if p > math.MaxUint16 {
		d.refuse("%s is %d, which is no port", field, p)
	}
	return uint16(p)
}

func (d *door) count(field string, n uint32) int {
	if n > maxCount {
		d.refuse("%s is %d, at most %d is taken", field, n, maxCount)
	}
	return int(n)
}

func (d *door) addr(field string, b []byte) netip.Addr {
	a, ok := netip.AddrFromSlice(b)
	if !ok || a.Is4In6() || a.IsUnspecified() || a.IsMulticast() {
		d.refuse("%s is no address of a host", field)
	}
	return a
}

func (d *door) prefix(field string, p *Prefix) netip.Prefix {
	a, ok := netip.AddrFromSlice(p.GetAddr())
	q := netip.PrefixFrom(a, int(min(p.GetBits(), 255)))
	if !ok || a.Is4In6() || !q.IsValid() || q != q.Masked() {
		d.refuse("%s is no prefix, or has host bits", field)
	}
	return q
}

// duration is between 0 and most; absent means 0.
func (d *door) duration(field string, x *durationpb.Duration, most time.Duration) time.Duration {
	if x == nil {
		return 0
	}
	v := x.AsDuration()
	if x.CheckValid() != nil || v < 0 || v > most {
		d.refuse("%s is not between 0 and %v", field, most)
	}
	return v
}

// seconds is a duration of whole seconds.
func (d *door) seconds(field string, x *durationpb.Duration) time.Duration {
	v := d.duration(field, x, maxTTL)
	if v%time.Second != 0 {
		d.refuse("%s is %v, which is not whole seconds", field, v)
	}
	return v
}

// ago turns an age back into a moment of our own clock; absent means the zero moment.
func (d *door) ago(field string, x *durationpb.Duration) time.Time {
	if x == nil {
		return time.Time{}
	}
	return d.now.Add(-d.duration(field, x, maxAge))
}

func (d *door) moment(field string, x *timestamppb.Timestamp) time.Time {
	if x == nil {
		return time.Time{}
	}
	if err := x.CheckValid(); err != nil {
		d.refuse("%s is no moment: %v", field, err)
		return time.Time{}
	}
	return x.AsTime()
}

// list converts each element, and none when there are more than most.
func list[In, Out any](d *door, field string, in []In, most int, each func(In) Out) []Out {
	if len(in) > most {
		d.refuse("%s holds %d entries, at most %d are taken", field, len(in), most)
		return nil
	}
	if len(in) == 0 {
		return nil
	}
	out := make([]Out, 0, len(in))
	for _, x := range in {
		if d.err != nil {
			return nil
		}
		out = append(out, each(x))
	}
	return out
}

// sorted puts a list in the order that the inner type promises.
func sorted[T any](l []T, compare func(a, b T) int) []T {
	if !slices.IsSortedFunc(l, compare) {
		slices.SortStableFunc(l, compare)
	}
	return l
}

// Out: the other direction cannot fail. What protobuf or a reader would refuse
// in a whole message is made harmless here.

// clean makes a sentence out of anything: valid UTF-8, no control characters, bounded.
func clean(s string) string {
	s = strings.Map(func(r rune) rune {
		if unicode.IsControl(r) {
			return ' '
		}
		return r
	}, strings.ToValidUTF8(s, "\uFFFD"))
	if len(s) <= maxText {
		return s
	}
	cut := maxText
	for !utf8.RuneStart(s[cut]) {
		cut--
	}
	return s[:cut]
}

// valid keeps one bad byte in a name from making its whole message unsendable.
func valid(s string) string { return strings.ToValidUTF8(s, "\uFFFD") }

func addrOut(a netip.Addr) []byte { return a.Unmap().WithZone("").AsSlice() }

func durationOut(v time.Duration) *durationpb.Duration {
	if v == 0 {
		return nil
	}
	return durationpb.New(v)
}

// agoOut is the age of a moment; a moment that lies ahead (a clock was set back) is now.
func agoOut(now, t time.Time) *durationpb.Duration {
	if t.IsZero() {
		return nil
	}
	return durationpb.New(min(max(now.Sub(t), 0), maxAge))
}

func momentOut(t time.Time) *timestamppb.Timestamp {
	if t.IsZero() {
		return nil
	}
	return timestamppb.New(t)
}

func countOut(n int) uint32 { return uint32(min(max(n, 0), maxCount)) }

func mapped[In, Out any](in []In, each func(In) Out) []Out {
	if len(in) == 0 {
		return nil
	}
	out := make([]Out, len(in))
	for i, x := range in {
		out[i] = each(x)
	}
	return out
}

func compareAddrPort(a, b netip.AddrPort) int {
	return cmp.Or(a.Addr().Compare(b.Addr()), cmp.Compare(a.Port(), b.Port()))
}
