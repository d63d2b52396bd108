package config

import (
	"errors"
	"fmt"
	"os"
	"reflect"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/go-viper/mapstructure/v2"
	"github.com/knadh/koanf/parsers/yaml"
	"github.com/knadh/koanf/providers/env/v2"
	"github.com/knadh/koanf/providers/file"
	"github.com/knadh/koanf/providers/structs"
	"github.com/knadh/koanf/v2"
	yaml3 "gopkg.in/yaml.v3"
)

// FileVariable names the environment variable that says which file to read.
const FileVariable = envPrefix + "CONFIG"

// Options say what Load reads.
type Options struct {
	// Defaults changes the defaults before anything is read; nil leaves them.
	Defaults func(*Config)
	// File is a YAML file; empty reads the one that SLIPSTREAM_CONFIG names, if any.
	File string
	// Environ returns NAME=value pairs; nil is os.Environ.
	Environ func() []string
	// Set are settings by key, such as stream.linger, from the command line. They win over
	// everything.
	Set map[string]string
}

// Load reads defaults < file < environment < command line and validates the result. Every mistake
// is reported, each with the place it was made at.
func Load(o Options) (Config, error) {
	if o.Environ == nil {
		o.Environ = os.Environ
	}
	all := fields()
	defaults := Default()
	if o.Defaults != nil {
		o.Defaults(&defaults)
	}
	k := koanf.New(".")
	if err := k.Load(structs.Provider(defaults, "koanf"), nil); err != nil {
		return Config{}, fmt.Errorf("load defaults: %w", err)
	}
	err := errors.Join(
		loadFile(k, all, path(o)),
		loadEnviron(k, all, o.Environ),
		loadSet(k, all, o.Set),
	)
	if err != nil {
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	var c Config
	if err := decode(k, &c); err != nil {
		return Config{}, fmt.Errorf("configuration: %w", err)
	}
	if err := c.Validate(); err != nil {
		return Config{}, err
	}
	return c, nil
}

func path(o Options) string {
	if o.File != "" {
		return o.File
	}
	for _, pair := range o.Environ() {
		if name, value, _ := strings.Cut(pair, "="); name == FileVariable {
			return value
		}
	}
	return ""
}

func loadFile(k *koanf.Koanf, all []field, path string) error {
	if path == "" {
		return nil
	}
	read := koanf.New(".")
	if err := read.Load(file.Provider(path), yaml.Parser()); err != nil {
		return fmt.Errorf("read %s: %w", path, err)
	}
	var errs []error
	for _, key := range read.Keys() {
		if read.Get(key) == nil && isSection(all, key) {
			continue // a section whose keys are all commented out
		}
		f, ok := find(all, key)
		if !ok {
			errs = append(errs, fmt.Errorf("%s: %w", path, unknownKey(all, key)))
			continue
		}
		if err := put(k, f, key, read.Get(key)); err != nil {
			errs = append(errs, fmt.Errorf("%s: %s: %w", path, key, err))
		}
	}
	return errors.Join(errs...)
}

// loadEnviron reads the variables that settings have. A secret may also be in a file that NAME_FILE
// names. Variables of other names are left alone: orchestrators set some of their own that begin as
// ours do.
func loadEnviron(k *koanf.Koanf, all []field, environ func() []string) error {
	type source struct {
		field
		rank int // of the variable among those of the field
		file bool
	}
	byName := map[string]source{}
	for _, f := range all {
		for i, name := range f.envs {
			byName[name] = source{f, 2*i + 1, false}
			if f.secret {
				byName[name+"_FILE"] = source{f, 2 * i, true}
			}
		}
	}
	for key := range retired() {
		// Left alone, it would say nothing and have no effect.
		byName[variable(key)] = source{field{key: key}, 0, false}
	}
	found := koanf.New(";") // names as they are: no nesting
	err := found.Load(env.Provider(";", env.Opt{
		EnvironFunc: environ,
		TransformFunc: func(name, value string) (string, any) {
			if _, ok := byName[name]; !ok || value == "" {
				return "", nil
			}
			return name, value
		},
	}), nil)
	if err != nil {
		return fmt.Errorf("read the environment: %w", err)
	}
	names := found.Keys()
	slices.SortFunc(names, func(a, b string) int { return byName[a].rank - byName[b].rank })
	var errs []error
	for _, name := range names {
		s, value := byName[name], found.String(name)
		if instead, ok := retired()[s.key]; ok {
			errs = append(errs, fmt.Errorf("%s: %s", name, instead))
			continue
		}
		if s.file {
			text, err := os.ReadFile(value)
			if err != nil {
				errs = append(errs, fmt.Errorf("%s: %w", name, err))
				continue
			}
			value = strings.TrimSpace(string(text))
		}
		if err := put(k, s.field, s.key, value); err != nil {
			errs = append(errs, fmt.Errorf("%s: %w", name, err))
		}
	}
	return errors.Join(errs...)
}

func loadSet(k *koanf.Koanf, all []field, set map[string]string) error {
	var errs []error
	for key, value := range set {
		f, ok := find(all, key)
		if !ok {
			errs = append(errs, fmt.Errorf("command line: %w", unknownKey(all, key)))
			continue
		}
		if err := put(k, f, key, value); err != nil {
			errs = append(errs, fmt.Errorf("command line: %s: %w", key, err))
		}
	}
	return errors.Join(errs...)
}

// put sets a value after a trial whether it can be read, so that a mistake is told with the place
// it was made at.
func put(k *koanf.Koanf, f field, key string, value any) error {
	trial := koanf.New(".")
	if err := trial.Set(key, value); err != nil {
		return err
	}
	var c Config
	if err := decode(trial, &c); err != nil {
		return say(f, value, err)
	}
	// What was read is kept, so that a text list replaces a list and a text map a map.
	if key == f.key {
		value = reflect.ValueOf(c).FieldByIndex(f.index).Interface()
	}
	return k.Set(key, value)
}

// say makes a sentence of mapstructure's report.
func say(f field, value any, err error) error {
	if f.secret {
		value = hidden
	}
	want := map[reflect.Type]string{
		reflect.TypeFor[time.Duration]():   "a duration such as 20ms, 5s or 30d",
		reflect.TypeFor[[]time.Duration](): "durations such as 5s,1m,10m",
		reflect.TypeFor[bool]():            "true or false",
		reflect.TypeFor[int]():             "a whole number",
		reflect.TypeFor[uint64]():          "a whole number, 0 or more",
		reflect.TypeFor[float64]():         "a number",
		reflect.TypeFor[Bytes]():           "a size such as 64MiB",
	}[f.typ]
	if want == "" {
		return fmt.Errorf("cannot be read: %w", err)
	}
	return fmt.Errorf("%v is not %s", value, want)
}

func decode(k *koanf.Koanf, c *Config) error {
	return k.UnmarshalWithConf(
		"",
		c,
		koanf.UnmarshalConf{DecoderConfig: &mapstructure.DecoderConfig{
			TagName:          "koanf",
			WeaklyTypedInput: true,
			ErrorUnused:      true,
			DecodeHook:       mapstructure.DecodeHookFuncType(fromText),
		}},
	)
}

// fromText reads the types that are written as text.
func fromText(from, to reflect.Type, data any) (any, error) {
	if from.Kind() != reflect.String {
		if to == reflect.TypeFor[time.Duration]() && from != to {
			return nil, errors.New("a duration needs a unit")
		}
		return data, nil
	}
	s := strings.TrimSpace(data.(string))
	switch to {
	case reflect.TypeFor[time.Duration]():
		return parseDuration(s)
	case reflect.TypeFor[Bytes]():
		var b Bytes
		err := b.UnmarshalText([]byte(s))
		return b, err
	case reflect.TypeFor[[]string](), reflect.TypeFor[[]time.Duration]():
		return split(s), nil
	case reflect.TypeFor[[]Action]():
		return parseActions(s)
	case reflect.TypeFor[[]APIKey]():
		return parseAPIKeys(s)
	}
	return data, nil
}

// parseDuration knows days, which time.ParseDuration does not: retention is thought of in days.
func parseDuration(s string) (time.Duration, error) {
	if days, ok := strings.CutSuffix(s, "d"); ok {
		n, err := strconv.ParseFloat(days, 64)
		if err != nil {
			return 0, err
		}
		return time.Duration(n * float64(24*time.Hour)), nil
	}
	return time.ParseDuration(s)
}

func split(s string) []string {
	out := []string{}
	for part := range strings.SplitSeq(s, ",") {
		if part = strings.TrimSpace(part); part != "" {
			out = append(out, part)
		}
	}
	return out
}

// parseActions reads a list of actions that is written as YAML, of which JSON is a part.
func parseActions(s string) ([]map[string]any, error) {
	out := []map[string]any{}
	if err := yaml3.Unmarshal([]byte(s), &out); err != nil {
		return nil, fmt.Errorf("is not a list of actions such as "+
			"[{name: listen, meaning: love, verb: listened to}]: %w", err)
	}
	return out, nil
}

// parseAPIKeys never shows a key in its errors.
func parseAPIKeys(s string) ([]APIKey, error) {
	out := []APIKey{}
	for i, part := range split(s) {
		fields := strings.SplitN(part, ":", 3)
		if len(fields) != 3 {
			return nil, fmt.Errorf("entry %d is not name:role+role:key", i+1)
		}
		out = append(
			out, APIKey{Name: fields[0], Roles: strings.Split(fields[1], "+"), Key: fields[2]},
		)
	}
	return out, nil
}
