package eval

import (
	"encoding/json"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
)

// Report is what an evaluation writes as JSON.
type Report struct {
	Data     string  `json:"data"`
	Users    int     `json:"users"`
	Items    int     `json:"items"`
	Events   int     `json:"events"`
	Sample   float64 `json:"sample"`
	Warmup   float64 `json:"warmup"`
	K        int     `json:"k"`
	Machine  string  `json:"machine"`
	Duration float64 `json:"seconds"`

	Prequential []Result            `json:"prequential,omitempty"`
	LeaveOneOut []LeaveOneOutResult `json:"leave_one_out,omitempty"`
}

// WriteJSON writes the report as indented JSON.
func (r *Report) WriteJSON(w io.Writer) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(r)
}

// WriteText writes the report as tables for a person.
func (r *Report) WriteText(w io.Writer) error {
	fmt.Fprintf(w, "%s: %d events of %d users on %d items", r.Data, r.Events, r.Users, r.Items)
	if len(r.Prequential) > 0 {
		fmt.Fprintf(
			w, "; test, then learn; first %.0f %% learned only; %.4g %% of the rest judged",
			100*r.Warmup, 100*r.Sample,
		)
	}
	fmt.Fprintf(w, "\n%s\n\n", r.Machine)
	t := tabwriter.NewWriter(w, 0, 0, 2, ' ', 0)
	if len(r.Prequential) > 0 {
		r.prequential(t)
	}
	if len(r.LeaveOneOut) > 0 {
		fmt.Fprintf(
			t,
			"method\tHR@%d, given negatives\tNDCG@%d\tHR@%d, whole catalog\tNDCG@%d\tlearning "+
				"µs/event\n",
			r.K, r.K, r.K, r.K,
		)
		for _, x := range r.LeaveOneOut {
			few, ndcg := "-", "-"
			if x.AgainstNegatives.Judged > 0 {
				few, ndcg = fmt.Sprintf("%.4f", x.AgainstNegatives.Recall), fmt.Sprintf(
					"%.4f", x.AgainstNegatives.NDCG,
				)
			}
			fmt.Fprintf(
				t, "%s\t%s\t%s\t%.4f\t%.4f\t%.1f\n", x.Method, few, ndcg, x.Full.Recall,
				x.Full.NDCG, x.LearnMicros,
			)
		}
	}
	return t.Flush()
}

func (r *Report) prequential(t *tabwriter.Writer) {
	fmt.Fprintf(
		t, "method\tRecall@%d\tNDCG@%d\tMRR@%d\tof liked\tdisliked later\tcoverage\tjudged\t"+
			"learning µs/event\tlist µs\n",
		r.K, r.K, r.K,
	)
	for _, x := range r.Prequential {
		liked, disliked := "-", "-"
		if x.Liked > 0 {
			liked = fmt.Sprintf("%.4f", x.LikedRecall)
			disliked = fmt.Sprintf("%.4f", x.DislikedShare)
		}
		fmt.Fprintf(
			t, "%s\t%.4f\t%.4f\t%.4f\t%s\t%s\t%.3f\t%d\t%.1f\t%.0f\n", x.Method, x.Recall,
			x.NDCG, x.MRR, liked, disliked, x.Coverage, x.Judged, x.LearnMicros, x.JudgeMicros,
		)
	}
	for _, part := range []struct {
		title  string
		groups func(Result) []Group
	}{
		{"by the user's items taken before", func(x Result) []Group { return x.ByHistory }},
		{"by the item's events before", func(x Result) []Group { return x.ByItem }},
		{"over the stream", func(x Result) []Group { return x.Windows }},
	} {
		first := part.groups(r.Prequential[0])
		if len(first) == 0 {
			continue
		}
		fmt.Fprintf(t, "\nRecall@%d %s\t%s\n", r.K, part.title, strings.Join(names(first), "\t"))
		for _, x := range r.Prequential {
			fmt.Fprintf(t, "%s", x.Method)
			for _, g := range part.groups(x) {
				fmt.Fprintf(t, "\t%.4f", g.Recall)
			}
			fmt.Fprintln(t)
		}
		fmt.Fprint(t, "judged")
		for _, g := range first {
			fmt.Fprintf(t, "\t%d", g.Judged)
		}
		fmt.Fprintln(t)
	}
	if n := r.Prequential[0].Repeats; n > 0 {
		fmt.Fprintf(t, "\n%d events are repeats of an item by its user\n", n)
	}
}

func names(groups []Group) (out []string) {
	for _, g := range groups {
		out = append(out, g.Name)
	}
	return out
}
