package eval

import (
	"fmt"
	"html"
	"io"
	"strings"
)

// palette are colours that people with any kind of colour vision can tell apart (Okabe and Ito
// 2008); the first is for our own model.
var palette = []string{
	"#D55E00", "#0072B2", "#009E73", "#CC79A7", "#E69F00", "#56B4E9", "#000000", "#999999",
}

// Chart writes an SVG of Recall@k over the stream, one line per method, as it was measured window
// by window.
func Chart(w io.Writer, title string, results []Result) error {
	const width, height, left, top, right, bottom = 860, 420, 60, 50, 230, 50
	var highest float64
	windows := 0
	for _, r := range results {
		windows = max(windows, len(r.Windows))
		for _, g := range r.Windows {
			highest = max(highest, g.Recall)
		}
	}
	if windows < 2 {
		return fmt.Errorf("chart: %d windows judged, want at least 2", windows)
	}
	step := 0.05
	for highest/step > 8 {
		step *= 2
	}
	ceiling := step
	for ceiling < highest {
		ceiling += step
	}
	x := func(n int) float64 { return left + float64(n)*(width-left-right)/float64(windows-1) }
	y := func(v float64) float64 { return height - bottom - v/ceiling*(height-top-bottom) }
	var b strings.Builder
	fmt.Fprintf(
		&b,
		`<svg xmlns="http://www.w3.org/2000/svg" viewBox="0 0 %d %d" `+
			`font-family="sans-serif" font-size="13">`+"\n",
		width,
		height,
	)
	fmt.Fprintf(
		&b, `<title>%s</title><rect width="100%%" height="100%%" fill="white"/>`+"\n",
		html.EscapeString(title),
	)
	fmt.Fprintf(
		&b, `<text x="%d" y="28" font-size="16">%s</text>`+"\n", left, html.EscapeString(title),
	)
	for v := 0.0; v <= ceiling+step/2; v += step {
		fmt.Fprintf(
			&b,
			`<path d="M%d %.1fH%d" stroke="#ddd"/>`+
				`<text x="%d" y="%.1f" text-anchor="end">%.2f</text>`+"\n",
			left,
			y(v),
			width-right,
			left-8,
			y(v)+4,
			v,
		)
	}
	longest := results[0].Windows
	for _, r := range results {
		if len(r.Windows) == windows {
			longest = r.Windows
		}
	}
	for _, n := range []int{0, (windows - 1) / 2, windows - 1} {
		fmt.Fprintf(
			&b, `<text x="%.1f" y="%d" text-anchor="middle">%s</text>`+"\n", x(n), height-bottom+20,
			html.EscapeString(longest[n].Name),
		)
	}
	fmt.Fprintf(
		&b, `<text x="%d" y="%d" text-anchor="middle">share of the stream</text>`+"\n",
		(left+width-right)/2, height-10,
	)
	for n, r := range results {
		colour := palette[n%len(palette)]
		b.WriteString(`<polyline fill="none" stroke-width="2" stroke="` + colour + `" points="`)
		for k, g := range r.Windows {
			fmt.Fprintf(&b, "%.1f,%.1f ", x(k), y(g.Recall))
		}
		fmt.Fprintf(
			&b, `"/><rect x="%d" y="%d" width="16" height="4" fill="%s"/>`, width-right+15,
			top+22*n, colour,
		)
		fmt.Fprintf(
			&b, `<text x="%d" y="%d">%s %.3f</text>`+"\n", width-right+38, top+7+22*n,
			html.EscapeString(r.Method), r.Recall,
		)
	}
	b.WriteString("</svg>\n")
	_, err := io.WriteString(w, b.String())
	return err
}
