package arch

// Floors is the house: every package of this module, the floor it stands on, and
// the arrows that may leave it. A package that is not here does not build green.
func Floors() []Floor {
	return []Floor{
		{Path: "fleet", Level: 1, Pure: true},

		{Path: "geo/steer", Level: 2, Pure: true, MayImport: []string{"fleet"}},
		{Path: "geo/clouds", Level: 2, Pure: true, MayImport: []string{"fleet"}},
		{Path: "health", Level: 2, Pure: true, MayImport: []string{"fleet"}},
		{Path: "placement", Level: 2, Pure: true, MayImport: []string{"fleet"}},
		{Path: "trust", Level: 2, PureFiles: []string{"identity.go"}, MayImport: []string{"fleet"}},

		// The files of an installation, carried along by programs.
		{Path: "deploy", Level: 2},

		// The outside forms lean on each other: a fact carries objects, the admin
		// API carries facts.
		{Path: "api/...", Level: 3, MayImport: []string{"fleet", "placement", "api/..."}},

		{Path: "hub", Level: 4, PureFiles: []string{"book.go", "build.go", "ledger.go", "policy.go", "route.go", "service.go", "subject.go", "world.go"}, MayImport: []string{"fleet", "geo/steer", "health", "api/..."}},
		// geo/steer is for writing the decision back into object status.
		{Path: "discovery/kube/...", Level: 4, MayImport: []string{"fleet", "geo/steer", "api/...", "discovery/kube/..."}},
		{Path: "discovery/file", Level: 4, MayImport: []string{"fleet", "api/..."}},
		{Path: "discovery/peer", Level: 4, MayImport: []string{"fleet", "api/...", "trust"}},
		{Path: "health/probe", Level: 4, MayImport: []string{"fleet"}},
		{Path: "geo/geoip", Level: 4, MayImport: []string{"fleet"}},
		{Path: "geo/dns", Level: 4, PureFiles: []string{"answer.go", "problem.go", "resolve.go"}, MayImport: []string{"fleet", "geo/steer"}},
		{Path: "xds/resource", Level: 4, MayImport: []string{"fleet"}},
		// render names identities and does nothing else with trust.
		{Path: "xds/render", Level: 4, Pure: true, MayImport: []string{"fleet", "geo/steer", "trust", "xds/resource"}},
		{Path: "xds/bootstrap", Level: 4, MayImport: []string{"fleet", "trust", "xds/resource"}},
		{Path: "xds", Level: 4, MayImport: []string{"fleet", "geo/steer", "trust", "xds/resource", "xds/render"}},
		// Only tests: the whole edge against a real Envoy.
		{Path: "xds/e2e_test", Level: 4, MayImport: []string{"fleet", "geo/steer", "trust", "xds", "xds/resource", "xds/render", "xds/bootstrap"}},
		{Path: "placement/apply", Level: 4, MayImport: []string{"fleet", "geo/steer", "placement", "api/..."}},
		{Path: "placement/plain", Level: 4, MayImport: []string{"fleet", "placement", "api/..."}},
		{Path: "install", Level: 4, PureFiles: []string{"member.go", "object.go", "place.go"}, MayImport: []string{"fleet", "geo/clouds", "placement", "api/...", "trust", "deploy"}},
		{Path: "admin", Level: 4, MayImport: []string{"fleet", "geo/steer", "placement", "api/...", "trust"}},

		// Test support stands beside the floors and sees everything below it;
		// only commands, the benchmarks and tests see it.
		{Path: "internal/arch", Level: 5},
		{Path: "internal/lab/...", Level: 5, Support: true, MayImport: []string{"..."}},
		{Path: "internal/scenario/...", Level: 5, Support: true, MayImport: []string{"..."}},
		{Path: "internal/walkthrough", Level: 5, Support: true, MayImport: []string{"..."}},
		{Path: "internal/workloads", Level: 5, Support: true, MayImport: []string{"..."}},

		{Path: "deploy/render", Level: 6, MayImport: []string{"install"}},
		{Path: "cmd/...", Level: 6, MayImport: []string{"..."}},
		{Path: "bench/...", Level: 6, MayImport: []string{"..."}},
	}
}
