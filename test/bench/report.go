package main

import (
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"html"
	"math"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"
)

// section is the outcome of one part, as it is written to NAME.json and NAME.md.
type section struct {
	Name, Title, Machine, Date, Command, Load string

	Notes  []string
	Tables []table
	Charts []chart
}

type table struct {
	Title   string
	Columns []string
	Rows    [][]string
}

func (t *table) add(cells ...string) { t.Rows = append(t.Rows, cells) }

// chart is a set of horizontal bars.
type chart struct {
	Title, Unit string
	Bars        []bar
}

type bar struct {
	Label string
	Value float64
}

func (c *chart) add(label string, value float64) { c.Bars = append(c.Bars, bar{label, value}) }

func (s *section) markdown() string {
	var b strings.Builder
	fmt.Fprintf(
		&b, "# %s\n\n`%s`, %s, %s. Load average of the machine at the end of the section: %s.\n",
		s.Title, s.Command, s.Date, s.Machine, s.Load,
	)
	for _, n := range s.Notes {
		fmt.Fprintf(&b, "\n%s\n", n)
	}
	for _, t := range s.Tables {
		fmt.Fprintf(&b, "\n## %s\n\n%s", t.Title, t.markdown())
	}
	for i, c := range s.Charts {
		fmt.Fprintf(&b, "\n![%s](%s)\n", c.Title, s.chartFile(i))
	}
	return b.String()
}

func (s *section) chartFile(i int) string {
	if i == 0 {
		return s.Name + ".svg"
	}
	return fmt.Sprintf("%s-%d.svg", s.Name, i+1)
}

func (t *table) markdown() string {
	var b strings.Builder
	fmt.Fprintf(
		&b, "| %s |\n|%s\n", strings.Join(t.Columns, " | "),
		" --- |"+strings.Repeat(" ---: |", len(t.Columns)-1),
	)
	for _, r := range t.Rows {
		fmt.Fprintf(&b, "| %s |\n", strings.Join(r, " | "))
	}
	return b.String()
}

// write puts the section's files into the folder.
func (s *section) write(dir string) error {
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return err
	}
	data, err := json.MarshalIndent(s, "", "  ")
	if err != nil {
		return err
	}
	errs := []error{
		os.WriteFile(filepath.Join(dir, s.Name+".json"), append(data, '\n'), 0o644),
		os.WriteFile(filepath.Join(dir, s.Name+".md"), []byte(s.markdown()), 0o644),
	}
	for i, c := range s.Charts {
		errs = append(
			errs, os.WriteFile(filepath.Join(dir, s.chartFile(i)), []byte(c.svg()), 0o644),
		)
	}
	return errors.Join(errs...)
}

// writeIndex lists the sections that are there, so that one can be measured again alone.
func writeIndex(dir string) error {
	var b strings.Builder
	b.WriteString(
		"# Measurements\n\nWritten by `make bench`. What they mean, and what was done about " +
			"them: [PERFORMANCE.md](../PERFORMANCE.md).\n\n",
	)
	for _, name := range sections {
		data, err := os.ReadFile(filepath.Join(dir, name+".json"))
		if err != nil {
			continue
		}
		var s section
		if err := json.Unmarshal(data, &s); err != nil {
			return fmt.Errorf("%s.json: %w", name, err)
		}
		fmt.Fprintf(&b, "- [%s](%s.md), %s\n", s.Title, name, s.Date)
	}
	return os.WriteFile(filepath.Join(dir, "README.md"), []byte(b.String()), 0o644)
}

// svg draws the bars.
func (c *chart) svg() string {
	const width, left, row = 860, 390, 30
	top := 0.0
	for _, x := range c.Bars {
		top = max(top, x.Value)
	}
	var b strings.Builder
	fmt.Fprintf(
		&b,
		`<svg xmlns="http://www.w3.org/2000/svg" width="%d" height="%d" font-family="sans-serif" `+
			`font-size="13"><rect width="100%%" height="100%%" fill="#fff"/>`,
		width,
		50+row*len(c.Bars),
	)
	fmt.Fprintf(
		&b, `<text x="12" y="26" font-size="15" font-weight="bold">%s</text>`,
		html.EscapeString(c.Title),
	)
	for i, x := range c.Bars {
		y, w := 42+row*i, 0.0
		if top > 0 {
			w = x.Value / top * (width - left - 110)
		}
		fill := "#9aa5b1"
		if strings.Contains(x.Label, "Slipstream") || strings.Contains(x.Label, "the same") {
			fill = "#2563eb"
		}
		fmt.Fprintf(
			&b,
			`<text x="%d" y="%d" text-anchor="end">%s</text>`+
				`<rect x="%d" y="%d" width="%.1f" height="%d" fill="%s"/>`+
				`<text x="%.1f" y="%d">%s %s</text>`,
			left-8,
			y+16,
			html.EscapeString(x.Label),
			left,
			y,
			max(w, 1),
			row-8,
			fill,
			left+w+6,
			y+16,
			number(x.Value, 2),
			html.EscapeString(c.Unit),
		)
	}
	b.WriteString("</svg>\n")
	return b.String()
}

// number writes x with thousands separated.
func number(x float64, digits int) string {
	if math.IsNaN(x) || math.IsInf(x, 0) {
		return "–"
	}
	s := strconv.FormatFloat(x, 'f', digits, 64)
	whole, rest, _ := strings.Cut(s, ".")
	sign := ""
	if strings.HasPrefix(whole, "-") {
		sign, whole = "-", whole[1:]
	}
	for i := len(whole) - 3; i > 0; i -= 3 {
		whole = whole[:i] + "," + whole[i:]
	}
	if rest != "" {
		rest = "." + rest
	}
	return sign + whole + rest
}

func times(x float64) string { return number(x, 1) + "×" }

func milliseconds(d time.Duration) string { return number(float64(d)/1e6, 1) + " ms" }

func median[T any](values []T, f func(T) float64) float64 {
	if len(values) == 0 {
		return math.NaN()
	}
	x := make([]float64, len(values))
	for i := range values {
		x[i] = f(values[i])
	}
	slices.Sort(x)
	return x[len(x)/2]
}

// spread is the median with the range of the runs.
func spread[T any](values []T, f func(T) float64, digits int) string {
	mid := number(median(values, f), digits)
	if len(values) < 2 {
		return mid
	}
	low, high := f(values[0]), f(values[0])
	for _, v := range values {
		low, high = min(low, f(v)), max(high, f(v))
	}
	return fmt.Sprintf("%s (%s–%s)", mid, number(low, digits), number(high, digits))
}

// quantile of sorted values, by nearest rank.
func quantile[T cmp.Ordered](sorted []T, q float64) T {
	var zero T
	if len(sorted) == 0 {
		return zero
	}
	return sorted[min(len(sorted)-1, max(0, int(math.Ceil(q*float64(len(sorted))))-1))]
}
