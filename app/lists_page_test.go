package app_test

import (
	"fmt"
	"strings"
	"testing"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/schemas"
)

// listsPage is the page that shows the lists to people.
const listsPage = "../docs/LISTS.md"

// page shows people, what they like and did, and their lists.
func (w *town) page(lists map[string]schemas.Recommendation) string {
	var b strings.Builder
	b.WriteString(w.intro)
	for i := range w.people {
		p := &w.people[i]
		fmt.Fprintf(&b, "\n## %s\n\n%s\n", strings.ToUpper(p.ID[:1])+p.ID[1:], p.Taste)
		if len(p.History) > 0 {
			fmt.Fprint(&b, "\n| did | film | genres |\n|---|---|---|\n")
		}
		for k := range p.History {
			x := &p.History[k]
			f := w.films[x.ItemID]
			fmt.Fprintf(&b, "| %s | %s (%s) | %s |\n", deed(x), f.Title, f.year,
				strings.Join(f.Genres, ", "))
		}
		fmt.Fprint(&b, listHead)
		for _, x := range lists[p.ID].Items {
			b.WriteString(w.row(&x))
		}
	}
	return b.String()
}

const listHead = "\n| place | film | genres | by | reason |\n|---|---|---|---|---|\n"

func (w *town) row(x *schemas.RecommendedItem) string {
	f := w.films[x.ItemID]
	title := fmt.Sprintf("%s (%s)", f.Title, f.year)
	if f.new {
		title = "**" + title + "**"
	}
	return fmt.Sprintf("| %d | %s | %s | %s | %s |\n", x.Rank, title,
		strings.Join(f.Genres, ", "), strings.Join(f.Directors, ", "), x.Reason)
}

// shown returns the lists that a page shows.
func (w *town) shown(t *testing.T, page string) map[string]schemas.Recommendation {
	t.Helper()
	byTitle := make(map[string]string)
	for _, f := range w.order {
		byTitle[fmt.Sprintf("%s (%s)", f.Title, f.year)] = f.ItemID
	}
	lists := make(map[string]schemas.Recommendation)
	for _, part := range strings.Split(page, "\n## ")[1:] {
		name, rest, _ := strings.Cut(part, "\n")
		_, rows, found := strings.Cut(rest, listHead)
		require.True(t, found, name)
		var list schemas.Recommendation
		for line := range strings.Lines(rows) {
			cells := strings.Split(strings.TrimSpace(line), " | ")
			if len(cells) != 5 {
				continue
			}
			x := schemas.RecommendedItem{
				ItemID: byTitle[strings.Trim(cells[1], "*")], Rank: len(list.Items) + 1,
				Reason: strings.TrimSuffix(cells[4], " |"),
			}
			require.NotEmpty(t, x.ItemID, line)
			require.Equal(t, w.row(&x), line)
			list.Items = append(list.Items, x)
		}
		lists[strings.ToLower(name)] = list
	}
	return lists
}

// deed says in words what somebody did.
func deed(x *schemas.Interaction) string {
	if x.Action == schemas.Watch {
		return fmt.Sprintf("watched %g %% of", *x.Value*100)
	}
	if x.Action == schemas.Rate && *x.Value != 1 {
		return fmt.Sprintf("gave %g stars to", *x.Value)
	}
	return map[schemas.Action]string{
		schemas.Rate: "gave one star to", schemas.Hide: "hid", schemas.Skip: "skipped",
		schemas.Like: "liked", schemas.Dislike: "disliked", schemas.View: "looked at",
	}[x.Action]
}
