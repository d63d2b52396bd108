package datasets

import (
	"context"
	"fmt"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
)

func (d *Dataset) readML100K(ctx context.Context, f *files, _ Config) error {
	if err := f.lines(ctx, "u.data", "\t", onlyUTF8, d.rating); err != nil {
		return err
	}
	genres := []string{}
	if f.has("u.genre") {
		err := f.lines(ctx, "u.genre", "|", orLatin1, func(_ int, s []string) error {
			genres = append(genres, s[0])
			return nil
		})
		if err != nil {
			return err
		}
	}
	if f.has("u.item") {
		// id|title|release date|video release date|address|one flag per genre
		err := f.lines(ctx, "u.item", "|", orLatin1, func(_ int, s []string) error {
			if len(s) < 5 {
				return fmt.Errorf("%d fields, want at least 5", len(s))
			}
			x := film(s[0], s[1])
			if t, err := time.Parse("02-Jan-2006", s[2]); err == nil && t.Year() >= 1900 {
				x.PublishedAt = t
			}
			for i, flag := range s[5:] {
				if flag == "1" && i < len(genres) && genres[i] != "unknown" {
					x.Genres = append(x.Genres, genres[i])
				}
			}
			d.items = append(d.items, x)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if !f.has("u.user") {
		return nil
	}
	return f.lines(ctx, "u.user", "|", orLatin1, func(_ int, s []string) error {
		if len(s) < 4 {
			return fmt.Errorf("%d fields, want at least 4", len(s))
		}
		age, err := strconv.ParseFloat(s[1], 64)
		if err != nil {
			return fmt.Errorf("age %q is not a number", s[1])
		}
		d.users = append(
			d.users,
			schemas.User{
				UserID:     strings.Clone(s[0]),
				Attributes: map[string]any{"age": age, "gender": s[2], "occupation": s[3]},
			},
		)
		return nil
	})
}

func (d *Dataset) readML1M(ctx context.Context, f *files, c Config) error {
	if err := f.lines(ctx, "ratings.dat", "::", onlyUTF8, d.rating); err != nil {
		return err
	}
	tags := tagCounts{}
	if c.Tags && f.has("tags.dat") { // 10M has it: user, item, tag, timestamp
		err := f.lines(ctx, "tags.dat", "::", orLatin1, func(_ int, s []string) error {
			if len(s) < 4 {
				return fmt.Errorf("%d fields, want 4", len(s))
			}
			tags.add(s[1], strings.Join(s[2:len(s)-1], "::"))
			return nil
		})
		if err != nil {
			return err
		}
	}
	if f.has("movies.dat") {
		err := f.lines(ctx, "movies.dat", "::", orLatin1, func(_ int, s []string) error {
			if len(s) < 3 {
				return fmt.Errorf("%d fields, want 3", len(s))
			}
			// A title may hold the separator.
			x := film(s[0], strings.Join(s[1:len(s)-1], "::"))
			x.Genres, x.Tags = list(s[len(s)-1]), tags.top(s[0])
			d.items = append(d.items, x)
			return nil
		})
		if err != nil {
			return err
		}
	}
	if !f.has("users.dat") {
		return nil
	}
	return f.lines(ctx, "users.dat", "::", orLatin1, func(_ int, s []string) error {
		if len(s) < 4 {
			return fmt.Errorf("%d fields, want at least 4", len(s))
		}
		d.users = append(
			d.users,
			schemas.User{
				UserID:     strings.Clone(s[0]),
				Attributes: map[string]any{"gender": s[1], "age": s[2], "occupation": s[3]},
			},
		)
		return nil
	})
}

func (d *Dataset) readMLLatest(ctx context.Context, f *files, c Config) error {
	err := d.eachRow(
		ctx, f, f.either("ratings.csv", "rating.csv"),
		[]string{"userId", "movieId", "rating", "timestamp"},
		func(s []string) error { return d.rating(0, s) },
	)
	if err != nil {
		return err
	}
	tags := tagCounts{}
	if name := f.either("tags.csv", "tag.csv"); c.Tags && f.has(name) {
		err := d.eachRow(ctx, f, name, []string{"movieId", "tag"}, func(s []string) error {
			tags.add(s[0], s[1])
			return nil
		})
		if err != nil {
			return err
		}
	}
	movies := f.either("movies.csv", "movie.csv")
	if !f.has(movies) {
		return nil
	}
	return d.eachRow(
		ctx,
		f,
		movies,
		[]string{"movieId", "title", "genres"},
		func(s []string) error {
			x := film(s[0], s[1])
			x.Genres, x.Tags = list(s[2]), tags.top(s[0])
			d.items = append(d.items, x)
			return nil
		},
	)
}

// eachRow calls each with the named columns of every row, in that order.
func (d *Dataset) eachRow(
	ctx context.Context,
	f *files,
	name string,
	names []string,
	each func(fields []string) error,
) error {
	t, err := f.openCSV(name)
	if err != nil {
		return err
	}
	defer func() { _ = t.Close() }()
	at, err := t.columns(names...)
	if err != nil {
		return err
	}
	width := 0
	for _, i := range at {
		width = max(width, i+1)
	}
	wanted := make([]string, len(at))
	return t.each(ctx, width, func(fields []string) error {
		for i, c := range at {
			wanted[i] = fields[c]
		}
		return each(wanted)
	})
}

// rating adds a line of user, item, rating, timestamp.
func (d *Dataset) rating(_ int, s []string) error {
	if len(s) < 4 {
		return fmt.Errorf("%d fields, want user, item, rating, timestamp", len(s))
	}
	value, err := strconv.ParseFloat(s[2], 32)
	if err != nil || !(value >= 0.5 && value <= 5) {
		return fmt.Errorf("rating %q is not a number from 0.5 to 5", s[2])
	}
	at, err := parseTime(s[3])
	if err != nil {
		return err
	}
	if err := checkIDs(s[0], s[1]); err != nil {
		return err
	}
	d.add(s[0], s[1], at, float32(value))
	return nil
}

func checkIDs(user, item string) error {
	x := schemas.Interaction{UserID: user, ItemID: item, Action: schemas.View}
	return x.Validate()
}

// film returns an item with the year that MovieLens appends to titles as its time of publication.
func film(id, title string) schemas.Item {
	x := schemas.Item{ItemID: strings.Clone(id), Title: strings.TrimSpace(title)}
	if n := len(x.Title); n > 6 && x.Title[n-1] == ')' && x.Title[n-6] == '(' {
		if year, err := strconv.Atoi(x.Title[n-5 : n-1]); err == nil && year >= 1900 &&
			year < 2100 {
			x.PublishedAt = time.Date(year, 1, 1, 0, 0, 0, 0, time.UTC)
		}
	}
	if x.Title == "" {
		x.Title = "Item " + x.ItemID
	}
	return x
}

// list splits at | and leaves out what says nothing.
func list(s string) []string {
	var out []string
	for part := range strings.SplitSeq(s, "|") {
		if part = strings.TrimSpace(part); part != "" && part != "(no genres listed)" &&
			len(part) <= schemas.MaxIDLength &&
			len(out) < 100 {
			out = append(out, strings.Clone(part))
		}
	}
	return out
}
