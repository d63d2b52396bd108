package config

import (
	"fmt"
	"strings"

	"github.com/spf13/pflag"
)

// Flags are the flags of the command line that set something.
type Flags struct {
	fs    *pflag.FlagSet
	file  string
	set   []string
	named map[string]string // flag to key
}

// AddFlags adds --config, --set and one flag for each of named, which maps the name of a flag to
// the key it sets.
func AddFlags(fs *pflag.FlagSet, named map[string]string) *Flags {
	f := &Flags{fs: fs, named: named}
	fs.StringVar(&f.file, "config", "", "YAML file with settings (default $"+FileVariable+")")
	fs.StringArrayVar(
		&f.set, "set", nil, "key=value: any setting of docs/CONFIGURATION.md; may be repeated",
	)
	all := fields()
	for name, key := range named {
		at, ok := find(all, key)
		if !ok {
			// a mistake in the program
			panic(fmt.Sprintf("config: flag --%s sets %s, which does not exist", name, key))
		}
		fs.String(name, "", fmt.Sprintf("%s ($%s)", at.help, at.envs[0]))
	}
	return f
}

// AddressFlags are the flags that commands which reach the engines have.
func AddressFlags() map[string]string {
	return map[string]string{
		"kafka-brokers":       "kafka.brokers",
		"topic-prefix":        "kafka.topic_prefix",
		"qdrant-addr":         "qdrant.addr",
		"neo4j-uri":           "neo4j.uri",
		"neo4j-username":      "neo4j.username",
		"clickhouse-addr":     "clickhouse.addr",
		"clickhouse-database": "clickhouse.database",
		"clickhouse-username": "clickhouse.username",
		"http":                "http.addr",
		"log-level":           "log.level",
		"log-format":          "log.format",
	}
}

// Options returns what the flags say, for Load, after they were parsed.
func (f *Flags) Options() (Options, error) {
	o := Options{File: f.file, Set: map[string]string{}}
	for _, pair := range f.set {
		key, value, ok := strings.Cut(pair, "=")
		if !ok {
			return Options{}, fmt.Errorf("--set %s: write key=value", pair)
		}
		o.Set[strings.TrimSpace(key)] = value
	}
	for name, key := range f.named {
		if flag := f.fs.Lookup(name); flag != nil && flag.Changed {
			o.Set[key] = flag.Value.String()
		}
	}
	return o, nil
}
