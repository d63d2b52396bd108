package processors

import (
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"flag"
	"os"
	"path/filepath"
	"testing"
	"time"

	"github.com/stretchr/testify/require"

	"github.com/slipstream-rec/slipstream/fault"
	"github.com/slipstream-rec/slipstream/model"
	"github.com/slipstream-rec/slipstream/schemas"
	"github.com/slipstream-rec/slipstream/sinks"
	"github.com/slipstream-rec/slipstream/stream/record"
)

var update = flag.Bool("update", false, "write the golden files of the newest formats anew")

// goldenFormats are records as one version of the formats writes them. Those of version 1 were
// written by the last program that wrote it, and nothing writes them anew: the log holds such
// records.
type goldenFormats struct {
	// ItemGradients are two messages: of interactions/3 up to offset 3, and of embed.replay/1 at 0.
	ItemGradients [][]byte
	// ItemVectors are the records of the items when they were new and after each message.
	ItemVectors []struct{ Key, Value []byte }
}

func golden(t testing.TB, version string) (g goldenFormats) {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", "formats-"+version+".json"))
	require.NoError(t, err)
	require.NoError(t, json.Unmarshal(data, &g))
	return g
}

// goldenModel is the model of the golden files.
func goldenModel() model.Config {
	cfg := model.Default()
	cfg.Dim, cfg.Units, cfg.Negatives = 8, 2, 4
	return cfg
}

func at(offset int64) sinks.Position { return sinks.PositionOf(sinks.FirstEpoch, offset) }

// rewrite reads the records of a version and writes them in the newest one.
func rewrite(t *testing.T, in goldenFormats) (out goldenFormats) {
	t.Helper()
	for i, value := range in.ItemGradients {
		src, position, sums, err := decodeGradients(value)
		require.NoError(t, err)
		require.Equal(t, []source{{0, 3}, {1, 1}}[i], src)
		require.Equal(t, []sinks.Position{at(3), at(0)}[i], position)
		e := NewEmbed(
			nil, Streams{}, NewItemFactors(goldenModel()), NewErasures(), DefaultEmbedConfig(1),
		)
		part := e.part(src.partition)
		require.NoError(t, part.sums.Merge(sums))
		topic := embedInputs[src.input]
		messages, err := e.gradientMessages(part, &record.Batch{
			Range: record.Range{Topic: topic, Partition: src.partition, Last: position.Offset()},
		})
		require.NoError(t, err)
		require.Len(t, messages, 1)
		out.ItemGradients = append(out.ItemGradients, messages[0].Value)
	}
	for _, r := range in.ItemVectors {
		f := NewItemFactors(goldenModel())
		require.NoError(t, f.Apply(&record.Record{Key: r.Key, Value: r.Value}))
		r.Value = f.appendRecord(nil, string(r.Key))
		out.ItemVectors = append(out.ItemVectors, r)
	}
	return out
}

func TestGoldenFormats(t *testing.T) {
	t.Parallel()
	old := golden(t, "v1")
	require.Len(t, old.ItemGradients, 2)
	got := rewrite(t, old)
	if *update {
		data, err := json.MarshalIndent(got, "", " ")
		require.NoError(t, err)
		require.NoError(t, os.WriteFile("testdata/formats-v2.json", append(data, '\n'), 0o600))
	}
	newest := golden(t, "v2")
	require.Equal(t, newest, got, "version 1 is read, and written in version 2")
	require.Equal(t, newest, rewrite(t, newest), "version 2 is read")
	for i, r := range old.ItemVectors {
		was, err := decodeFactors(r.Value)
		require.NoError(t, err)
		is, err := decodeFactors(newest.ItemVectors[i].Value)
		require.NoError(t, err)
		require.Equal(t, was.meta, is.meta)
	}
	last, err := decodeFactors(old.ItemVectors[len(old.ItemVectors)-1].Value)
	require.NoError(t, err)
	require.NotEmpty(t, last.meta.applied, "the records have absorbed the messages")
}

// The first version of a gradient message began with any source in its shortest form. None of these
// must look like the marker.
func TestNoOldGradientsLookLikeNewOnes(t *testing.T) {
	t.Parallel()
	code, n := binary.Uvarint([]byte(gradientsMarker))
	require.Len(t, gradientsMarker, n)
	require.Greater(t, code>>1, uint64(maxNumber), "no version took it for a source")
}

func TestInputNumbersStay(t *testing.T) {
	t.Parallel()
	require.Equal(t, []string{"interactions", "embed.replay"}, embedInputs[:2])
	for input, topic := range embedInputs {
		src, err := sourceOf(topic, 7)
		require.NoError(t, err)
		require.Equal(t, source{input, 7}, src)
	}
	d, ok := Declared(schemas.GroupEmbed)
	require.True(t, ok)
	require.ElementsMatch(t, d.Topics(), embedInputs, "every topic that embed reads has a number")
	require.Equal(t, source{0, 5}, oldSource(10))
	require.Equal(t, source{1, 5}, oldSource(11))
	_, err := sourceOf("elsewhere", 1)
	require.Error(t, err)

	e := NewEmbed(
		nil, Streams{}, NewItemFactors(goldenModel()), NewErasures(), DefaultEmbedConfig(1),
	)
	_, err = e.gradientMessages(e.part(0), &record.Batch{Range: record.Range{Topic: "elsewhere"}})
	require.ErrorContains(t, err, "elsewhere")
	beyond := &record.Batch{
		Range: record.Range{Topic: schemas.TopicInteractions, Last: sinks.EpochStart},
	}
	_, err = e.gradientMessages(e.part(0), beyond)
	require.ErrorContains(t, err, "beyond")
}

func TestAppliedPositionsSurviveTheirForm(t *testing.T) {
	t.Parallel()
	var a applied
	want := make(map[source]sinks.Position)
	for _, s := range []source{{1, 4}, {0, 0}, {2, 9}, {0, 1 << 20}, {1, 0}, {0, 7}} {
		p := sinks.PositionOf(128+s.partition%3, int64(1000+s.partition))
		require.False(t, a.has(s, p))
		a.set(s, p-1)
		require.False(t, a.has(s, p))
		a.set(s, p)
		require.True(t, a.has(s, p) && a.has(s, p-1) && !a.has(s, p+1))
		want[s] = p
	}
	r := varints{data: a.append(nil)}
	var back applied
	back.read(&r)
	require.NoError(t, r.err)
	require.Equal(t, a, back)
	require.Len(t, back, len(want))
	for _, x := range back {
		require.Equal(t, want[x.source], x.position)
	}
}

func TestWhatANewerProgramAddedToItemFactorsStays(t *testing.T) {
	t.Parallel()
	f := NewItemFactors(goldenModel())
	f.table.Intern("i1")
	f.touch("i1").version = 4
	added := model.Section{Tag: 1000, Body: []byte("from the future")}
	f.touch("i1").unknown = model.Sections{added}
	record := &record.Record{Key: []byte("i1"), Value: f.appendRecord(nil, "i1")}

	owner := NewItemFactors(goldenModel())
	require.NoError(t, owner.Apply(record))
	clear(record.Value) // a follower reuses the memory of its records
	m := owner.touch("i1")
	m.version++
	m.applied.set(source{0, 3}, at(17))
	x, err := decodeFactors(owner.appendRecord(nil, "i1"))
	require.NoError(t, err)
	require.Equal(t, &factorsMeta{
		version: 5, applied: applied{{source{0, 3}, at(17)}}, unknown: model.Sections{added},
	}, x.meta)
}

// newerFactors is a record that this version must not read.
func newerFactors(id string) *record.Record {
	value := []byte{factorsVersion + 1, 0}
	return &record.Record{Topic: schemas.TopicItemVectors, Offset: 7, Key: []byte(id), Value: value}
}

func TestItemFactorsOfANewerFormatEndTheFollower(t *testing.T) {
	t.Parallel()
	f := NewItemFactors(goldenModel())
	err := f.Apply(newerFactors("film-18"))
	require.ErrorIs(t, err, model.ErrNewerFormat)
	for _, part := range []string{
		`"film-18"`, "item-vectors/0/7", "version 3", "reads up to 2", "upgrade this instance",
	} {
		require.ErrorContains(t, err, part)
	}
	require.ErrorIs(t, f.restorer()(newerFactors("film-18")), model.ErrNewerFormat)
	require.ErrorIs(
		t, f.Apply(&record.Record{Key: []byte("x"), Value: []byte{2, 0}}), model.ErrCorrupt,
	)
}

type discarded struct{ Discard }

func (discarded) OffsetAt(context.Context, string, int, time.Time) (int64, error) { return 0, nil }

func (discarded) Read(
	context.Context,
	string,
	int,
	int64,
	int64,
	func(*record.Record) error,
) error {
	return nil
}

// A message that a newer version wrote waits for the upgrade with what stands behind it; what
// stands before it is applied, once.
func TestGradientsOfANewerFormatWait(t *testing.T) {
	t.Parallel()
	old := golden(t, "v1")
	f := NewItemFactors(goldenModel())
	streams := Streams{Log: discarded{}, Emit: Discard{}}
	c := NewCatalog(nil, streams, f, DefaultCatalogConfig(1), nil)
	newer := append([]byte(gradientsMarker), gradientsVersion+1, 0)
	b := &record.Batch{
		Range: record.Range{Topic: schemas.TopicItemGradients},
		Records: []record.Record{
			{Offset: 0, Value: old.ItemGradients[0]},
			{Offset: 1, Value: newer},
			{Offset: 2, Value: old.ItemGradients[1]},
		},
	}
	state := func() string {
		var all []byte
		for _, id := range []string{"i1", "i2", "i3", "i4"} {
			all = f.appendRecord(all, id)
		}
		return string(all)
	}
	require.Equal(t, fault.Transient, fault.ClassOf(c.Handle(t.Context(), b)))
	applied := state()
	require.Equal(t, at(3), f.touch("i1").applied[0].position)
	require.Len(t, f.touch("i1").applied, 1, "what stands behind it waits")
	err := c.Handle(t.Context(), b)
	require.ErrorIs(t, err, model.ErrNewerFormat)
	require.Equal(t, applied, state(), "tried again, and applied once")

	var rejected *fault.Rejected
	b.Records[1].Value = []byte("undecodable, by any version")
	require.ErrorAs(t, c.Handle(t.Context(), b), &rejected)
	require.Len(t, rejected.Records, 1)
	require.Equal(t, 1, rejected.Records[0].Index)
	require.Len(t, f.touch("i1").applied, 2)
}

// newerLog holds one gradient message of a newer version.
type newerLog struct{ discarded }

func (newerLog) Read(
	_ context.Context,
	_ string,
	_ int,
	_, _ int64,
	f func(*record.Record) error,
) error {
	return f(&record.Record{Value: append([]byte(gradientsMarker), gradientsVersion+1, 0)})
}

func TestWhatWasLearnedIsKnownPerEpoch(t *testing.T) {
	t.Parallel()
	f := NewItemFactors(goldenModel())
	f.touch("a").applied.set(source{0, 3}, at(1000))
	f.touch("b").applied.set(source{0, 3}, sinks.PositionOf(129, 5))
	f.touch("a").applied.set(source{1, 0}, at(8))
	l := f.Learned()
	require.EqualValues(t, 6, l.Next(129, schemas.TopicInteractions, 3))
	require.Zero(
		t, l.Next(128, schemas.TopicInteractions, 3), "nothing is known of an epoch that is over",
	)
	require.EqualValues(t, 9, l.Next(128, record.ReplayTopic(schemas.GroupEmbed), 0))
	require.Zero(t, l.Next(129, record.ReplayTopic(schemas.GroupEmbed), 0))
	require.Zero(t, l.Next(128, schemas.TopicInteractions, 4))
	require.Zero(t, l.Next(128, "elsewhere", 0))
	require.ErrorIs(t, l.Due(t.Context(), newerLog{}, 1), model.ErrNewerFormat)
}

func FuzzFactorsRecord(f *testing.F) {
	for _, version := range []string{"v1", "v2"} {
		for _, r := range golden(f, version).ItemVectors {
			f.Add(r.Value)
		}
	}
	f.Add(newerFactors("x").Value)
	f.Fuzz(func(t *testing.T, data []byte) {
		factors := NewItemFactors(goldenModel())
		if err := factors.Apply(&record.Record{Key: []byte("x"), Value: data}); err != nil ||
			len(data) == 0 {
			return
		}
		written := factors.appendRecord(nil, "x")
		again := NewItemFactors(goldenModel())
		require.NoError(t, again.Apply(&record.Record{Key: []byte("x"), Value: written}))
		require.Equal(t, written, again.appendRecord(nil, "x"))
	})
}

func FuzzGradients(f *testing.F) {
	for _, version := range []string{"v1", "v2"} {
		for _, value := range golden(f, version).ItemGradients {
			f.Add(value)
		}
	}
	f.Add(append([]byte(gradientsMarker), gradientsVersion+1, 0))
	f.Fuzz(func(t *testing.T, data []byte) {
		src, position, sums, err := decodeGradients(data)
		if err != nil {
			if errors.Is(err, model.ErrNewerFormat) == (fault.ClassOf(err) == fault.Permanent) {
				t.Fatalf("an error of no class, or of two: %v", err)
			}
			return
		}
		if !position.IsValid() || src.input < 0 || src.partition < 0 {
			t.Fatalf("%v at %s", src, position)
		}
		_ = model.NewSums(model.NewTable(goldenModel())).Merge(sums)
	})
}
