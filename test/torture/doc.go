// Package torture proves what docs/RELIABILITY.md promises: it runs instances of the built program
// under a seeded load, with a ledger of what was sent and acknowledged, breaks instances, engines
// and connections at random, and compares every store with the ledger and with an undisturbed run
// over the same log. Nothing imports it; its entry points are its tests.
package torture
