package datasets

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/slipstream-rec/slipstream/schemas"
)

// lastFMFounded bounds the times of tags from below: the data holds a few from the 1950s.
const lastFMFounded = 1_009_843_200_000 // 2002-01-01, in milliseconds

type pair struct{ user, artist string }

// listening is what HetRec says of one user and one artist.
type listening struct {
	plays int64
	// at is the time of the first tag in milliseconds, 0 when the user gave none.
	at int64
}

// readHetRecLastFM gives one interaction for each pair of user and artist that has plays or tags.
// Its time is that of the pair's first tag. Plays without a tag have no time in the data: they are
// spread evenly over the time in which their user tagged, in an order that the ids alone decide,
// and over everybody's time for a user without tags; they are marked in the context.
func (d *Dataset) readHetRecLastFM(ctx context.Context, f *files, c Config) error {
	pairs := map[pair]*listening{}
	of := func(s []string) *listening {
		p := pair{s[0], s[1]}
		l, ok := pairs[p]
		if !ok {
			l = &listening{}
			pairs[pair{strings.Clone(s[0]), strings.Clone(s[1])}] = l
		}
		return l
	}
	err := d.numbers(ctx, f, "user_artists.dat", 3, func(s []string, n []int64) {
		of(s).plays += n[2]
	})
	if err != nil {
		return err
	}
	byTag := map[int64]map[string]int{}
	if f.has("user_taggedartists-timestamps.dat") {
		err := d.numbers(
			ctx,
			f,
			"user_taggedartists-timestamps.dat",
			4,
			func(s []string, n []int64) {
				l := of(s)
				if n[3] >= lastFMFounded && n[3]/1000 <= latestSeconds &&
					(l.at == 0 || n[3] < l.at) {
					l.at = n[3]
				}
				if c.Tags {
					if byTag[n[2]] == nil {
						byTag[n[2]] = map[string]int{}
					}
					byTag[n[2]][strings.Clone(s[1])]++
				}
			},
		)
		if err != nil {
			return err
		}
	}
	d.addListenings(pairs)
	if err := d.readArtists(ctx, f, byTag); err != nil {
		return err
	}
	if !f.has("user_friends.dat") {
		return nil
	}
	friends := map[[2]string]struct{}{}
	err = d.numbers(ctx, f, "user_friends.dat", 2, func(s []string, _ []int64) {
		a, b := strings.Clone(s[0]), strings.Clone(s[1])
		if compareIDs(a, b) > 0 {
			a, b = b, a
		}
		if a != b {
			friends[[2]string{a, b}] = struct{}{}
		}
	})
	d.addFriends(friends)
	return err
}

// addListenings adds the pairs in the order of the ids; order() gives a time to those that have
// none, and sorts.
func (d *Dataset) addListenings(pairs map[pair]*listening) {
	keys := slices.SortedFunc(maps.Keys(pairs), func(a, b pair) int {
		return cmp.Or(compareIDs(a.user, b.user), compareIDs(a.artist, b.artist))
	})
	for _, k := range keys {
		at := int64(noTime)
		if ms := pairs[k].at; ms != 0 {
			at = ms * 1000
		}
		d.add(k.user, k.artist, at, unrated)
	}
}

func (d *Dataset) readArtists(ctx context.Context, f *files, byTag map[int64]map[string]int) error {
	tags := tagCounts{}
	if len(byTag) > 0 && f.has("tags.dat") {
		err := f.lines(ctx, "tags.dat", "\t", orLatin1, func(n int, s []string) error {
			id, err := strconv.ParseInt(s[0], 10, 64)
			if err != nil || len(s) < 2 {
				return skipHeader(n, s)
			}
			for artist, count := range byTag[id] {
				tags.addMany(artist, s[1], count)
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	if !f.has("artists.dat") {
		return nil
	}
	return f.lines(ctx, "artists.dat", "\t", orLatin1, func(n int, s []string) error {
		if _, err := strconv.ParseInt(s[0], 10, 64); err != nil || len(s) < 2 {
			return skipHeader(n, s)
		}
		d.items = append(
			d.items,
			withTitle(schemas.Item{ItemID: strings.Clone(s[0]), Title: s[1], Tags: tags.top(s[0])}),
		)
		return nil
	})
}

func withTitle(x schemas.Item) schemas.Item {
	x.Title = strings.TrimSpace(x.Title)
	if x.Title == "" {
		x.Title = "Item " + x.ItemID
	}
	return x
}

// numbers calls each for every line of a file of whole numbers, separated by tabs, below its
// header.
func (d *Dataset) numbers(
	ctx context.Context,
	f *files,
	name string,
	columns int,
	each func(s []string, n []int64),
) error {
	n := make([]int64, columns)
	return f.lines(ctx, name, "\t", onlyUTF8, func(line int, s []string) error {
		if len(s) < columns {
			return fmt.Errorf("%d fields, want %d", len(s), columns)
		}
		for i := range n {
			v, err := strconv.ParseInt(s[i], 10, 64)
			if err != nil && i > 0 {
				line = 0 // a header has no number
			}
			if err != nil {
				return skipHeader(line, s)
			}
			n[i] = v
		}
		each(s, n)
		return nil
	})
}

// skipHeader forgives the first line for not being numbers.
func skipHeader(line int, fields []string) error {
	if line == 1 {
		return nil
	}
	return fmt.Errorf(
		"%q is not what is expected here: want whole numbers, separated by tabs", fields,
	)
}
