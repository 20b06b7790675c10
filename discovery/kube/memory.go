package kube

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"maps"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"time"

	"github.com/meridian-lb/meridian/api/field"
	"github.com/meridian-lb/meridian/api/v1alpha1"
	"github.com/meridian-lb/meridian/discovery/kube/credentials"
	"github.com/meridian-lb/meridian/fleet"
)

// memory is how members were last reached, kept on disk: a process that starts
// while the host cluster is dead watches them all the same.
//
// It is no fact, since facts travel to other regions and are shown to people, and
// credentials must not. It lies in the directory where the keys of certificates
// lie too, readable by nobody else.
type memory struct {
	path    string // empty: nothing is kept
	options credentials.Options
	write   func(path string, body []byte) error
	log     *slog.Logger

	// Of Run's goroutine.
	members map[string]*access
	pages   chan []recollection // what is to be written; the newest wins
}

// recollection is one member as it lies on disk.
type recollection struct {
	Name       string    `json:"name"`
	Kubeconfig []byte    `json:"kubeconfig"`
	Generation int64     `json:"generation,omitempty"` // of the Cluster object
	Created    time.Time `json:"created,omitzero"`     // likewise
}

// memoryFile is the file. One of another version is passed over: the host says it all again.
type memoryFile struct {
	Version int            `json:"version"`
	Members []recollection `json:"members"`
}

const (
	memoryVersion = 1
	maxMemory     = 64 << 20 // bytes; a kubeconfig of "meridian join" has about 4 KiB
	rewriteEvery  = 5 * time.Second
)

// newMemory reads what an earlier process left in dir. What cannot be used is
// logged and passed over. Own is the member that our own credentials are for.
func newMemory(dir, own string, o credentials.Options, log *slog.Logger) *memory {
	m := &memory{options: o, write: replace, log: log, members: map[string]*access{}, pages: make(chan []recollection, 1)}
	if dir == "" {
		return m
	}
	m.path = filepath.Join(dir, "members.json")
	list, err := readMemory(m.path)
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		log.Error("how members were last reached cannot be read, so they are not watched before the host cluster answers; the file is written anew then", "file", m.path, "err", err)
	}
	for _, r := range list {
		a, err := m.parse(r)
		switch {
		case err == nil && m.members[r.Name] != nil:
			err = errors.New("it is there twice")
		case err == nil && r.Name == own:
			continue // by our own credentials now
		}
		if err != nil {
			log.Error("how a member was last reached cannot be used, so it is not watched before the host cluster answers", "file", m.path, "cluster", field.Quote(r.Name), "err", err)
			continue
		}
		m.members[r.Name] = a
	}
	return m
}

func readMemory(path string) ([]recollection, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	raw, err := io.ReadAll(io.LimitReader(f, maxMemory+1))
	switch {
	case err != nil:
		return nil, err
	case len(raw) > maxMemory:
		return nil, fmt.Errorf("it is larger than %d MiB, as it never is written", maxMemory>>20)
	}
	var got memoryFile
	if json.Unmarshal(raw, &got) != nil { // the error may quote what stands there
		return nil, errors.New("it is no valid JSON, so it was damaged")
	}
	switch {
	case got.Version != memoryVersion:
		return nil, fmt.Errorf("it is of version %d, and this program reads version %d", got.Version, memoryVersion)
	case len(got.Members) > maxSecrets:
		return nil, fmt.Errorf("it holds %d members, at most %d are read", len(got.Members), maxSecrets)
	}
	return got.Members, nil
}

// parse is the door: what lies on disk is believed no more than a Secret is.
func (m *memory) parse(r recollection) (*access, error) {
	if err := field.Label(r.Name); err != nil {
		return nil, err
	}
	if r.Name == v1alpha1.HostCluster {
		return nil, errors.New("it is the name of the host cluster")
	}
	cfg, err := credentials.Parse(r.Kubeconfig, m.options)
	if err != nil {
		return nil, err
	}
	about := fleet.Origin{Cluster: v1alpha1.HostCluster, Kind: v1alpha1.KindCluster, Name: r.Name, Generation: max(r.Generation, 0), Created: r.Created.UTC()}
	return &access{config: cfg, about: about, kubeconfig: r.Kubeconfig, token: tokenOfKubeconfig(r.Kubeconfig)}, nil
}

// learn takes over what the host says of its members. Credentials that it says are
// gone or faulty are forgotten; those that it cannot or may not show now stay.
func (m *memory) learn(members map[string]*access) {
	if m.path == "" {
		return
	}
	after := map[string]*access{}
	for name, a := range members {
		switch before := m.members[name]; {
		case a != nil && a.kubeconfig != nil:
			after[name] = &access{config: a.config, about: a.about, token: a.token, kubeconfig: a.kubeconfig}
		case (a == nil || a.unread) && before != nil:
			after[name] = before
		}
	}
	before := m.recollections()
	m.members = after
	if now := m.recollections(); !reflect.DeepEqual(before, now) {
		m.keep(now)
	}
}

// recollections are sorted by name.
func (m *memory) recollections() []recollection {
	list := make([]recollection, 0, len(m.members))
	for _, name := range slices.Sorted(maps.Keys(m.members)) {
		a := m.members[name]
		list = append(list, recollection{Name: name, Kubeconfig: a.kubeconfig, Generation: a.about.Generation, Created: a.about.Created})
	}
	return list
}

// keep has a list written, in place of one that has not been yet. It never waits for the disk.
func (m *memory) keep(list []recollection) {
	select {
	case <-m.pages:
	default:
	}
	m.pages <- list
}

// run writes until there are no more pages, beside everything else: a disk that
// stands still holds up nothing that is watched.
func (m *memory) run() {
	var unwritten []recollection
	failed := false
	again := time.NewTicker(rewriteEvery)
	defer again.Stop()
	for {
		select {
		case list, more := <-m.pages:
			if !more {
				return
			}
			unwritten = list
		case <-again.C:
			if !failed {
				continue
			}
		}
		err := m.save(unwritten)
		if err != nil && !failed {
			m.log.Error("how members are reached could not be saved; a restart beside a dead host cluster would watch them as they were before", "file", m.path, "err", err)
		}
		failed = err != nil
	}
}

func (m *memory) save(list []recollection) error {
	body, err := json.Marshal(memoryFile{Version: memoryVersion, Members: list})
	if err != nil {
		return err
	}
	if len(body) > maxMemory {
		return fmt.Errorf("it would be larger than %d MiB; leave out of the kubeconfigs what is not the member's", maxMemory>>20)
	}
	return m.write(m.path, body)
}

// replace writes a file in one step: all of it or nothing, also in a power cut.
// Nobody else may read it.
func replace(path string, body []byte) error {
	dir := filepath.Dir(path)
	tmp, err := os.CreateTemp(dir, "members-*.new") // 0600
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(tmp.Name()) }() // nothing is left of it when all went well
	_, e1 := tmp.Write(body)
	if err := errors.Join(e1, tmp.Sync(), tmp.Close()); err != nil {
		return err
	}
	if err := os.Rename(tmp.Name(), path); err != nil {
		return err
	}
	d, err := os.Open(dir)
	if err != nil {
		return err
	}
	defer d.Close()
	return d.Sync() // the new name too
}
