package hub

import (
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"time"

	"google.golang.org/protobuf/proto"

	factv1 "github.com/meridian-lb/meridian/api/fact/v1"
	"github.com/meridian-lb/meridian/fleet"
)

// keeper keeps the last known good facts on disk: a SHA-256 of the rest, then a
// protobuf Book. A file that is damaged is moved aside, never overwritten.
type keeper struct {
	path  string // empty: keep nothing
	write func(path string, body []byte) error
	log   *slog.Logger
	last  [sha256.Size]byte // of what lies on disk, apart from its ages
}

// maxBook is 100 clusters x 1,000 services x 100 endpoints, with room to spare.
const maxBook = 2 << 30 // bytes

func newKeeper(dir string, log *slog.Logger) *keeper {
	k := &keeper{write: replace, log: log}
	if dir != "" {
		k.path = filepath.Join(dir, "facts.pb")
	}
	return k
}

// load tells the facts that lie on disk. All of them are stale until their
// source speaks again.
func (k *keeper) load(now time.Time) []fleet.Update {
	if k.path == "" {
		return nil
	}
	updates, refused, err := read(k.path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return nil
	case err != nil:
		k.setAside("the last known good facts cannot be used, starting without them", now, err)
		return nil
	case len(refused) > 0:
		k.setAside("some of the last known good facts cannot be used, starting with the others", now, errors.Join(refused...))
	}
	for i := range updates {
		updates[i].Stale = fmt.Sprintf("not heard since this process started at %s; as on disk", now.Format(time.RFC3339))
	}
	k.log.Info("last known good facts are in force", "file", k.path, "sources", len(updates))
	return updates
}

// setAside moves the file out of the way of the next save, for somebody to look at.
func (k *keeper) setAside(what string, now time.Time, why error) {
	aside := k.path + ".damaged-" + now.UTC().Format("20060102T150405")
	k.log.Error(what+"; look at the file that was moved aside, or delete it", "moved", aside, "err", errors.Join(why, os.Rename(k.path, aside)))
}

// read returns the facts and, beside them, why some could not be used.
func read(path string) (updates []fleet.Update, refused []error, err error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxBook+1))
	if err != nil {
		return nil, nil, err
	}
	if len(raw) > maxBook || len(raw) < sha256.Size {
		return nil, nil, fmt.Errorf("its size of %d bytes is impossible", len(raw))
	}
	if sha256.Sum256(raw[sha256.Size:]) != [sha256.Size]byte(raw) {
		return nil, nil, errors.New("its checksum does not match, so it was cut off or damaged")
	}
	var b factv1.Book
	if err := proto.Unmarshal(raw[sha256.Size:], &b); err != nil {
		return nil, nil, fmt.Errorf("it is not a book of facts: %w", err)
	}
	return factv1.BookToFleet(&b)
}

// usable finds out at the start whether facts can be kept.
func (k *keeper) usable() error {
	if k.path == "" {
		return nil
	}
	dir := filepath.Dir(k.path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("the state directory cannot be made; name one that can be written to: %w", err)
	}
	probe, err := os.CreateTemp(dir, "facts-*.new")
	if err != nil {
		return fmt.Errorf("the state directory cannot be written to; name one that can: %w", err)
	}
	return errors.Join(probe.Close(), os.Remove(probe.Name()))
}

// save writes a book when something but its ages has changed.
func (k *keeper) save(content []fleet.Update, now time.Time) error {
	if k.path == "" {
		return nil
	}
	sum, err := fingerprint(content)
	if err != nil || sum == k.last {
		return k.failed(err)
	}
	body, err := proto.MarshalOptions{Deterministic: true}.Marshal(factv1.BookFromFleet(content, now))
	if err == nil {
		err = k.write(k.path, body)
	}
	if err == nil {
		k.last = sum
	}
	return k.failed(err)
}

// fingerprint is equal for equal facts, whatever their age: ages are counted
// from one fixed moment.
func fingerprint(content []fleet.Update) ([sha256.Size]byte, error) {
	content = slices.Clone(content)
	for i := range content {
		content[i].Heard = time.Time{}
	}
	plain, err := proto.MarshalOptions{Deterministic: true}.Marshal(factv1.BookFromFleet(content, time.Unix(0, 0)))
	return sha256.Sum256(plain), err
}

func (k *keeper) failed(err error) error {
	if err == nil {
		return nil
	}
	k.log.Error("the facts could not be saved; a restart would begin with older ones", "file", k.path, "err", err)
	return err
}

// contentOf lists what every source says. What is worthless after a restart
// (observations, load) is left out.
func contentOf(b *book) []fleet.Update {
	var list []fleet.Update
	for _, name := range slices.Sorted(maps.Keys(b.sources)) {
		s := b.sources[name]
		u := fleet.Update{Source: name, Whole: true, Heard: s.heard}
		for n, v := range s.facts {
			if n.Kind != fleet.KindObservation && n.Kind != fleet.KindLoad {
				u.Put = append(u.Put, fleet.Fact{Kind: n.Kind, Name: n.Name, Value: v})
			}
		}
		if len(u.Put) == 0 {
			continue
		}
		slices.SortFunc(u.Put, func(x, y fleet.Fact) int {
			return fleet.Key{Kind: x.Kind, Name: x.Name}.Compare(fleet.Key{Kind: y.Kind, Name: y.Name})
		})
		list = append(list, u)
	}
	return list
}

// replace writes a file in one step: all of it or nothing, also in a power cut.
func replace(path string, body []byte) error {
	dir := filepath.Dir(path)
	if err := os.MkdirAll(dir, 0o700); err != nil {
		return fmt.Errorf("making the state directory: %w", err)
	}
	tmp, err := os.CreateTemp(dir, "facts-*.new")
	if err != nil {
		return fmt.Errorf("writing the facts: %w", err)
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // nothing is left of it when all went well
	sum := sha256.Sum256(body)
	_, e1 := tmp.Write(sum[:])
	_, e2 := tmp.Write(body)
	if err := errors.Join(e1, e2, tmp.Sync(), tmp.Close()); err != nil {
		return fmt.Errorf("writing the facts: %w", err)
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return fmt.Errorf("writing the facts: %w", err)
	}
	d, err := os.Open(dir)
	if err != nil {
		return fmt.Errorf("writing the facts: %w", err)
	}
	defer d.Close()
	return d.Sync() // the new name too
}
