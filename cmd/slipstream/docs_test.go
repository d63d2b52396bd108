package main

import (
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/spf13/cobra"
	"github.com/stretchr/testify/require"
)

// Commands of ours as they stand in documents (in a code span, or at the beginning of a line of a
// code block) and in what the program itself says to people (in quotes or back-quotes).
var (
	inDocuments = regexp.MustCompile(
		"(?m)(?:`|^ {4,}|^\\$ |^    \\$ )(?:[A-Z_]+=\\S+ )*(?:go run \\./cmd/|bin/)?slipstream " +
			"([^`\n]+)",
	)
	inMessages = regexp.MustCompile("(?:`|\\\\\")slipstream ([^`\"\\\\\n]+)")
	aWord      = regexp.MustCompile(`^[a-z][a-z-]*$`)
)

// TestCommandsThatAreNamedExist holds documents and error messages to the command line as it is:
// commands and flags.
func TestCommandsThatAreNamedExist(t *testing.T) {
	t.Parallel()
	root := newRoot(io.Discard, io.Discard)
	seen := map[string]int{}
	err := filepath.WalkDir(
		filepath.Join("..", ".."),
		func(path string, d fs.DirEntry, err error) error {
			if err != nil {
				return err
			}
			if d.IsDir() {
				switch d.Name() {
				case ".git", ".slipstream", "bin", "data", "testdata":
					return filepath.SkipDir
				}
				return nil
			}
			pattern := inDocuments
			switch {
			case strings.HasSuffix(path, "_test.go"):
				return nil
			case filepath.Ext(path) == ".go":
				pattern = inMessages
			case filepath.Ext(path) != ".md":
				return nil
			}
			text, err := os.ReadFile(path)
			if err != nil {
				return err
			}
			for _, m := range pattern.FindAllStringSubmatch(string(text), -1) {
				seen[filepath.Ext(path)]++
				for _, complaint := range complaints(root, m[1]) {
					t.Errorf("%s: slipstream %s: %s", path, m[1], complaint)
				}
			}
			return nil
		},
	)
	require.NoError(t, err)
	require.Greater(t, seen[".md"], 20, "commands in documents were looked at")
	require.Greater(t, seen[".go"], 5, "commands in messages were looked at")
}

func TestWrongCommandsAreNoticed(t *testing.T) {
	t.Parallel()
	root := newRoot(io.Discard, io.Discard)
	for line, wrong := range map[string]bool{
		"dev --demo":                    false,
		"run --only embed,catalog":      false,
		"poison list|show|replay|drop":  false,
		"trace EVENT_ID":                false,
		"replay --help          # more": false,
		"poison bury":                   true,
		"deploy":                        true,
		"dev --turbo":                   true,
	} {
		require.Equal(t, wrong, len(complaints(root, line)) > 0, line)
	}
}

// complaints says what is wrong with the arguments of a command line.
func complaints(root *cobra.Command, line string) (out []string) {
	line, _, _ = strings.Cut(line, "#")
	line, _, _ = strings.Cut(line, " | ")
	cmd := root
	for _, word := range strings.Fields(line) {
		word = strings.Trim(word, ".,;:()[]\"'…")
		if flag, ok := strings.CutPrefix(word, "--"); ok {
			flag, _, _ = strings.Cut(flag, "=")
			if flag != "help" && cmd.Flags().Lookup(flag) == nil &&
				cmd.InheritedFlags().Lookup(flag) == nil {
				out = append(out, "there is no flag --"+flag)
			}
			continue
		}
		if !cmd.HasSubCommands() {
			continue
		}
		for _, name := range strings.Split(word, "|") {
			if !aWord.MatchString(name) {
				return out // an argument, or the sentence goes on
			}
			sub, _, err := cmd.Find([]string{name})
			if err != nil || sub == cmd {
				return append(out, "there is no command "+name)
			}
			if name == word {
				cmd = sub
			}
		}
		if strings.Contains(word, "|") {
			return out
		}
	}
	return out
}
