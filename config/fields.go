package config

import (
	"encoding/json"
	"fmt"
	"reflect"
	"slices"
	"strings"
	"time"
)

// envPrefix begins the name of the variable that every setting has.
const envPrefix = "SLIPSTREAM_"

// field is one setting, as its tags describe it.
type field struct {
	key    string   // in the file: section.name
	envs   []string // variables, the later ones win
	secret bool
	help   string
	index  []int // of reflect.Value.FieldByIndex
	typ    reflect.Type
}

// fields returns every setting in the order of the struct.
func fields() []field { return walk(reflect.TypeFor[Config](), "", nil) }

func walk(t reflect.Type, prefix string, index []int) []field {
	var out []field
	for i := range t.NumField() {
		f := t.Field(i)
		key, at := prefix+f.Tag.Get("koanf"), append(slices.Clone(index), i)
		if f.Type.Kind() == reflect.Struct {
			out = append(out, walk(f.Type, key+".", at)...)
			continue
		}
		var envs []string
		if known := f.Tag.Get("env"); known != "" {
			envs = append(envs, known)
		}
		envs = append(envs, variable(key))
		out = append(out, field{
			key: key, envs: envs, secret: f.Tag.Get("secret") == "true", help: f.Tag.Get("help"),
			index: at, typ: f.Type,
		})
	}
	return out
}

// variable returns the name of the variable that a key always has.
func variable(key string) string {
	return envPrefix + strings.ToUpper(strings.ReplaceAll(key, ".", "_"))
}

// retired are keys of older versions, each with what to write instead.
func retired() map[string]string {
	return map[string]string{
		"model.weights": "weights stand in the table of actions: write " +
			"actions: [{name: view, meaning: interest, weight: 0.5, verb: viewed}]",
	}
}

// find returns the field that a key of the file belongs to: maps take any key below their own.
func find(all []field, key string) (field, bool) {
	for _, f := range all {
		if f.key == key || f.typ.Kind() == reflect.Map && strings.HasPrefix(key, f.key+".") {
			return f, true
		}
	}
	return field{}, false
}

// isSection tells whether keys stand below this one.
func isSection(all []field, key string) bool {
	return slices.ContainsFunc(all, func(f field) bool { return strings.HasPrefix(f.key, key+".") })
}

// unknownKey says what could have been meant.
func unknownKey(all []field, key string) error {
	for old, instead := range retired() {
		if key == old || strings.HasPrefix(key, old+".") {
			return fmt.Errorf("%s is retired: %s", old, instead)
		}
	}
	section := ""
	for part := key; ; {
		i := strings.LastIndexByte(part, '.')
		if i < 0 {
			break
		}
		part = part[:i]
		if isSection(all, part) {
			section = part
			break
		}
	}
	below := section
	if section != "" {
		below += "."
	}
	var have []string
	for _, f := range all {
		if rest, ok := strings.CutPrefix(f.key, below); ok {
			name, _, _ := strings.Cut(rest, ".")
			if !slices.Contains(have, name) {
				have = append(have, name)
			}
		}
	}
	where := "at the top there are"
	if section != "" {
		where = section + " has"
	}
	return fmt.Errorf("unknown key %s: %s %s", key, where, strings.Join(have, ", "))
}

// text returns the value of a setting as it would be written in the environment.
func text(v reflect.Value) string {
	switch x := v.Interface().(type) {
	case time.Duration:
		return duration(x)
	case Bytes:
		return x.String()
	case []string:
		return strings.Join(x, ",")
	case []time.Duration:
		parts := make([]string, len(x))
		for i, d := range x {
			parts[i] = duration(d)
		}
		return strings.Join(parts, ",")
	case []Action:
		if len(x) == 0 {
			return ""
		}
		b, err := json.Marshal(plainActions(x))
		if err != nil {
			return fmt.Sprint(x) // a number that JSON does not have
		}
		return string(b)
	case []APIKey:
		parts := make([]string, len(x))
		for i, k := range x {
			parts[i] = k.Name + ":" + strings.Join(k.Roles, "+") + ":" + k.Key
		}
		return strings.Join(parts, ",")
	default:
		return fmt.Sprint(x)
	}
}

// plainActions returns actions without what is not set.
func plainActions(actions []Action) []map[string]any {
	out := make([]map[string]any, len(actions))
	for i := range actions {
		v := reflect.ValueOf(actions[i])
		out[i] = make(map[string]any)
		for k := range v.NumField() {
			if f := v.Field(k); !f.IsZero() {
				out[i][v.Type().Field(k).Tag.Get("koanf")] = reflect.Indirect(f).Interface()
			}
		}
	}
	return out
}

// duration is d.String without the zeros: 10m, not 10m0s.
func duration(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}
