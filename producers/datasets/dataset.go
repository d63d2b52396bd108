// Package datasets reads public recommendation data sets, as they are downloaded, into Slipstream's
// events in time order: MovieLens 100k, 1M and latest, HetRec Last.fm, and plain CSV. A data set is
// a folder or a zip; its format is recognised by the files in it.
//
// Event ids are functions of the data alone, so that replaying a data set twice counts once. Items
// and users are set back to what the data set says.
package datasets

import (
	"cmp"
	"context"
	"fmt"
	"iter"
	"maps"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/stream/record"
)

// Format names the layout of a data set.
type Format string

// The formats.
const (
	// Auto recognises the format by the names of the files, and their first line.
	Auto Format = ""
	// ML100K is MovieLens 100k: u.data, u.item, u.genre, u.user.
	ML100K Format = "ml-100k"
	// ML1M is MovieLens 1M, or 10M: ratings.dat, movies.dat, users.dat, separated by ::.
	ML1M Format = "ml-1m"
	// MLLatest is MovieLens latest, 20M, 25M or 32M: ratings.csv, movies.csv, tags.csv.
	MLLatest Format = "ml-latest"
	// HetRecLastFM is the Last.fm data set of HetRec 2011: user_artists.dat, user_friends.dat,
	// artists.dat, user_taggedartists-timestamps.dat.
	HetRecLastFM Format = "hetrec-lastfm"
	// CSV is one file with the header user,item,timestamp[,value].
	CSV Format = "csv"
)

// Formats lists what Config.Format can name.
func Formats() []Format { return []Format{ML100K, ML1M, MLLatest, HetRecLastFM, CSV} }

// Config says what to read. The zero value of everything but Path is the default.
type Config struct {
	// Path is a folder, a zip, or the main file itself (u.data, ratings.dat, a CSV, also gzipped).
	Path string
	// Format is Auto unless the files must be read as one format.
	Format Format
	// Items is an optional CSV that adds to the items: header item_id and any of title, genres,
	// directors, actors, tags, description; lists are separated by |. What it says replaces what
	// the data set says.
	Items string
	// Tags takes the tags that users gave to items as content of the items. They come from the
	// whole period: leave it off where the future must not be known, as in an evaluation.
	Tags bool
	// TimedOnly leaves out interactions whose time the data set does not tell.
	TimedOnly bool
}

// Dataset is a data set in memory, at some 24 bytes an interaction. It does not change and is safe
// for concurrent use.
type Dataset struct {
	format Format
	source string
	shift  time.Duration

	userIDs, itemIDs interner
	rows             []row
	imputed          map[uint32]struct{} // by row.seq: those whose time is made up
	items            []schemas.Item
	users            []schemas.User
	friends          [][2]string
}

// row is one interaction. Its value is a rating, or unrated.
type row struct {
	at         int64 // microseconds since 1970, or noTime
	user, item uint32
	seq        uint32
	value      float32
}

const unrated float32 = -1 // the data says that it happened, no more

// Open reads the data set that c describes. The error says which file is missing or which line
// cannot be read.
func Open(ctx context.Context, c Config) (*Dataset, error) {
	fsys, err := openFiles(c.Path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = fsys.Close() }()
	format := c.Format
	if format == Auto {
		if format, err = fsys.recognise(); err != nil {
			return nil, err
		}
	}
	d := &Dataset{format: format, source: "dataset/" + string(format)}
	readers := map[Format]func(context.Context, *files, Config) error{
		ML100K: d.readML100K, ML1M: d.readML1M, MLLatest: d.readMLLatest,
		HetRecLastFM: d.readHetRecLastFM, CSV: d.readCSV,
	}
	read, ok := readers[format]
	if !ok {
		return nil, fmt.Errorf("data set format %q is unknown: want one of %q", format, Formats())
	}
	if err := read(ctx, fsys, c); err != nil {
		return nil, fmt.Errorf("read %s as %s: %w", c.Path, format, err)
	}
	if len(d.rows) == 0 {
		return nil, fmt.Errorf("read %s as %s: it holds no interactions", c.Path, format)
	}
	if c.Items != "" {
		if err := d.mergeItems(ctx, c.Items); err != nil {
			return nil, err
		}
	}
	if err := d.order(c.TimedOnly); err != nil {
		return nil, fmt.Errorf("read %s as %s: %w", c.Path, format, err)
	}
	return d, nil
}

// stateID makes the id of an update from what it says: the same update is the same event, and one
// that says more (read with tags, or with an items file) is another one.
func stateID(what, id string, value []byte) string {
	if len(id) > 200 {
		id = strconv.FormatUint(schemas.Key(id), 16)
	}
	return fmt.Sprintf("%s/%s/%016x", what, id, schemas.Key(string(value)))
}

// Format tells how the data set was read.
func (d *Dataset) Format() Format { return d.format }

// Start returns the time of the first interaction; Items, Users and Friendships carry it too, as
// their data has no time.
func (d *Dataset) Start() time.Time { return time.UnixMicro(d.rows[0].at).UTC() }

// End returns the time of the last interaction.
func (d *Dataset) End() time.Time { return time.UnixMicro(d.rows[len(d.rows)-1].at).UTC() }

// Shift returns how far all times were moved: 0, unless timestamps only count.
func (d *Dataset) Shift() time.Duration { return d.shift }

// Imputed returns the number of interactions whose time is not in the data.
func (d *Dataset) Imputed() int { return len(d.imputed) }

// Len returns the number of interactions.
func (d *Dataset) Len() int { return len(d.rows) }

// Total returns the number of messages that Messages yields.
func (d *Dataset) Total() int { return len(d.items) + len(d.users) + len(d.friends) + len(d.rows) }

// Preamble returns the number of messages before the first interaction in Messages.
func (d *Dataset) Preamble() int { return len(d.items) + len(d.users) + len(d.friends) }

// UserCount returns the number of users with an interaction.
func (d *Dataset) UserCount() int { return len(d.userIDs.ids) }

// Items yields the catalog, in the order of the file. It may lack items that have interactions,
// when the data says nothing of them.
func (d *Dataset) Items() iter.Seq[schemas.Item] { return slices.Values(d.items) }

// Users yields the attributes of users, when the data set has some.
func (d *Dataset) Users() iter.Seq[schemas.User] { return slices.Values(d.users) }

// Friendships yields each pair of friends once.
func (d *Dataset) Friendships() iter.Seq[schemas.Friendship] {
	return func(yield func(schemas.Friendship) bool) {
		start := d.Start()
		for _, p := range d.friends {
			f := schemas.Friendship{
				EventID: "friends/" + p[0] + "/" + p[1], Source: d.source, UserID: p[0],
				FriendID: p[1], OccurredAt: start,
			}
			if !yield(f) {
				return
			}
		}
	}
}

// ContextTime is the key of Interaction.Context under which an interaction says ContextTimeImputed
// when its time is not in the data.
const (
	ContextTime        = "time"
	ContextTimeImputed = "imputed"
)

// Interactions yields the interactions in time order; equal times stay in the order of the file.
func (d *Dataset) Interactions() iter.Seq[schemas.Interaction] {
	return func(yield func(schemas.Interaction) bool) {
		repeats := map[[2]uint32]int{}
		for i := range d.rows {
			r := &d.rows[i]
			if i > 0 && d.rows[i-1].at != r.at {
				clear(repeats)
			}
			nth := 0
			tied := i > 0 && d.rows[i-1].at == r.at ||
				i+1 < len(d.rows) && d.rows[i+1].at == r.at
			if tied {
				nth = repeats[[2]uint32{r.user, r.item}]
				repeats[[2]uint32{r.user, r.item}]++
			}
			if !yield(d.interaction(r, nth)) {
				return
			}
		}
	}
}

func (d *Dataset) interaction(r *row, nth int) schemas.Interaction {
	x := schemas.Interaction{
		Source: d.source, UserID: d.userIDs.ids[r.user], ItemID: d.itemIDs.ids[r.item],
		Action: schemas.Watch, OccurredAt: time.UnixMicro(r.at).UTC(),
	}
	if r.value >= 0 {
		v := float64(r.value)
		x.Action, x.Value = schemas.Rate, &v
	}
	if _, ok := d.imputed[r.seq]; ok {
		x.Context = map[string]string{ContextTime: ContextTimeImputed}
	}
	x.EventID = eventID(x.UserID, x.ItemID, r.at, nth)
	return x
}

// eventID makes the id of an interaction: user/item/time, and #2 for its second of that time. Ids
// that hold a slash get the length of the user before them, since "a/b" with "c" is another pair
// than "a" with "b/c".
func eventID(user, item string, at int64, nth int) string {
	b := make([]byte, 0, 64)
	if len(user)+len(item) > 200 {
		b = strconv.AppendUint(b, schemas.Key(user), 16)
		b = append(b, '/')
		b = strconv.AppendUint(b, schemas.Key(item), 16)
	} else {
		if strings.Contains(user, "/") || strings.Contains(item, "/") {
			b = append(strconv.AppendInt(b, int64(len(user)), 10), ':')
		}
		b = append(b, user...)
		b = append(b, '/')
		b = append(b, item...)
	}
	b = append(b, '/')
	if at%1e6 == 0 {
		b = strconv.AppendInt(b, at/1e6, 10)
	} else {
		b = append(strconv.AppendInt(b, at, 10), "us"...)
	}
	if nth > 0 {
		b = append(b, '#')
		b = strconv.AppendInt(b, int64(nth)+1, 10)
	}
	return string(b)
}

// Messages yields everything as records for the log: items, users, friendships, then the
// interactions in time order.
func (d *Dataset) Messages() iter.Seq[record.Record] {
	return func(yield func(record.Record) bool) {
		for x := range d.Items() {
			if !yield(x.Message()) {
				return
			}
		}
		for x := range d.Users() {
			if !yield(x.Message()) {
				return
			}
		}
		for x := range d.Friendships() {
			if !yield(x.Message()) {
				return
			}
		}
		for x := range d.Interactions() {
			if !yield(x.Message()) {
				return
			}
		}
	}
}

// add appends an interaction in the order of the file.
func (d *Dataset) add(user, item string, at int64, value float32) {
	d.rows = append(
		d.rows,
		row{
			at: at, user: d.userIDs.idOf(user), item: d.itemIDs.idOf(item),
			seq:   uint32(len(d.rows)),
			value: value,
		},
	)
}

// addFriends appends the pairs, each once, in the order of the ids.
func (d *Dataset) addFriends(pairs map[[2]string]struct{}) {
	d.friends = slices.SortedFunc(maps.Keys(pairs), func(a, b [2]string) int {
		return cmp.Or(compareIDs(a[0], b[0]), compareIDs(a[1], b[1]))
	})
}

// compareIDs orders numbers by value: shorter first.
func compareIDs(a, b string) int {
	return cmp.Or(cmp.Compare(len(a), len(b)), strings.Compare(a, b))
}

// interner keeps each id once.
type interner struct {
	ids   []string
	index map[string]uint32
}

func (in *interner) idOf(id string) uint32 {
	if i, ok := in.index[id]; ok {
		return i
	}
	if in.index == nil {
		in.index = map[string]uint32{}
	}
	id = strings.Clone(id)
	i := uint32(len(in.ids))
	in.ids, in.index[id] = append(in.ids, id), i
	return i
}
