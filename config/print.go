package config

import (
	"fmt"
	"net/url"
	"reflect"
	"strings"

	"gopkg.in/yaml.v3"
)

// hidden stands for a secret that is set.
const hidden = "********"

// Redacted returns the configuration as YAML that Load could read, with secrets hidden.
func (c Config) Redacted() string {
	root := &yaml.Node{Kind: yaml.MappingNode}
	for _, f := range fields() {
		at := root
		parts := strings.Split(f.key, ".")
		for _, p := range parts[:len(parts)-1] {
			at = child(at, p)
		}
		at.Content = append(
			at.Content, scalar(parts[len(parts)-1]),
			node(f, reflect.ValueOf(c).FieldByIndex(f.index)),
		)
	}
	var b strings.Builder
	e := yaml.NewEncoder(&b)
	e.SetIndent(2)
	if err := e.Encode(root); err != nil {
		return fmt.Sprintf("# cannot be printed: %v\n", err)
	}
	return b.String()
}

// child returns the mapping of that name, made if needed.
func child(m *yaml.Node, name string) *yaml.Node {
	for i := 0; i < len(m.Content); i += 2 {
		if m.Content[i].Value == name {
			return m.Content[i+1]
		}
	}
	n := &yaml.Node{Kind: yaml.MappingNode}
	m.Content = append(m.Content, scalar(name), n)
	return n
}

func scalar(s string) *yaml.Node {
	n := &yaml.Node{}
	n.SetString(s)
	return n
}

func node(f field, v reflect.Value) *yaml.Node {
	if f.secret && v.String() != "" {
		return scalar(hidden)
	}
	if f.key == "neo4j.uri" {
		return scalar(withoutUserinfo(v.String()))
	}
	var plain any
	switch x := v.Interface().(type) {
	case []APIKey:
		shown := make([]map[string]any, len(x))
		for i, k := range x {
			shown[i] = map[string]any{"name": k.Name, "key": hidden, "roles": k.Roles}
		}
		plain = shown
	case []Action:
		plain = plainActions(x)
	case []string, string, bool, int, uint64, float64:
		plain = x
	default: // durations, sizes and lists of them
		s := text(v)
		if v.Kind() == reflect.Slice {
			plain = split(s)
		} else {
			plain = s
		}
	}
	n := &yaml.Node{}
	if err := n.Encode(plain); err != nil {
		return scalar(text(v))
	}
	return n
}

// withoutUserinfo hides credentials that somebody put into a URL.
func withoutUserinfo(s string) string {
	u, err := url.Parse(s)
	if err != nil || u.User == nil {
		return s
	}
	u.User = url.User(hidden)
	return u.String()
}

// Reference returns a Markdown document with every setting, its default and its variables.
func Reference() string {
	var b strings.Builder
	b.WriteString("# Configuration\n\n" +
		"Settings are read once, at the start: defaults < file (`--config` or " +
		"`SLIPSTREAM_CONFIG`, YAML) < environment < flags (`--set key=value`).\n" +
		"`slipstream config` prints the result with secrets hidden. Any secret can also be read " +
		"from a file that `<VARIABLE>_FILE` names.\n" +
		"Unknown keys in the file are errors. Durations are written as 20ms, 5s, 1h or 30d, " +
		"sizes as 64MiB.\n\n" +
		"This page is generated: `go test ./config -update`.\n")
	section := "-"
	c := reflect.ValueOf(Default())
	for _, f := range fields() {
		s, _, nested := strings.Cut(f.key, ".")
		if !nested {
			s = "general"
		}
		if s != section {
			section = s
			fmt.Fprintf(
				&b, "\n## %s\n\n| Key | Default | Variable | Meaning |\n|---|---|---|---|\n", s,
			)
		}
		value := text(c.FieldByIndex(f.index))
		if value != "" {
			value = "`" + value + "`"
		}
		fmt.Fprintf(&b, "| `%s` | %s | `%s` | %s |\n", f.key, value, f.envs[0], f.help)
	}
	b.WriteString("\n## Action\n\nAn entry of `actions`. Ranges of one action must adjoin. The " +
		"built-in rules are in the developers' guide.\n\n| Key | Meaning |\n|---|---|\n")
	for f := range reflect.TypeFor[Action]().Fields() {
		fmt.Fprintf(&b, "| `%s` | %s |\n", f.Tag.Get("koanf"), f.Tag.Get("help"))
	}
	return b.String()
}
