package record

import (
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/stretchr/testify/assert"
	"github.com/stretchr/testify/require"
)

func TestIntentMetadata(t *testing.T) {
	t.Parallel()
	for _, tt := range []struct {
		name string
		r    Intent
		want string
	}{
		{"plain", Intent{First: 0, Last: 0}, "v1:0-0"},
		{"long", Intent{First: 1000, Last: 1999}, "v1:1000-1999"},
		{
			"excluded",
			Intent{First: 1000, Last: 1999, Excluded: []int64{1000, 1003, 1999}},
			"v1:1000-1999!0,3,996",
		},
		{
			"with its time",
			Intent{First: 7, Last: 9, Begun: time.UnixMilli(1_700_000_000_123).UTC()},
			"v2:7-9@1700000000123",
		},
		{
			"with its time, excluded",
			Intent{First: 7, Last: 9, Excluded: []int64{8}, Begun: time.UnixMilli(1).UTC()},
			"v2:7-9@1!1",
		},
	} {
		t.Run(tt.name, func(t *testing.T) {
			require.Equal(t, tt.want, tt.r.String())
			got, err := ParseIntent(tt.want)
			require.NoError(t, err)
			require.Equal(t, tt.r, *got)
		})
	}
	none, err := ParseIntent("")
	require.NoError(t, err)
	require.Nil(t, none)
	for _, bad := range []string{
		"x", "v2:1-2", "v1:", "v1:1", "v1:2-1", "v1:-1-2", "v1:1-2!", "v1:1-2!2", "v1:1-2!0,0",
		"v1:1-2!1,1", "v1:01-2", "v1:1-2!x", "v1:1-2 ", "v1:1-2@3", "v2:1-2@", "v2:1-2@x",
		"v2:1-2@-1", "v2:1-2@01", "v2:1-2@253402300800000", "v2:1-2!1@3", "v3:1-2@3",
	} {
		_, err := ParseIntent(bad)
		require.Error(t, err, bad)
	}
}

// A program of version 1 reads nothing but this. It stops the partition at anything else, without
// an effect, and says that another program has committed.
var firstVersion = regexp.MustCompile(`^(v1:[0-9]+-[0-9]+(![0-9]+(,[0-9]+)*)?)?$`)

func TestAnOlderProgramRefusesAnIntentWithATime(t *testing.T) {
	t.Parallel()
	in := Intent{First: 1000, Last: 1999, Excluded: []int64{1000, 1003}}
	require.Regexp(t, firstVersion, in.String())
	in.Begun = time.UnixMilli(1_700_000_000_123)
	require.NotRegexp(t, firstVersion, in.String())
	in.Excluded = nil
	require.NotRegexp(t, firstVersion, in.String())
}

func TestForwardedRecordsCarryTheirOrigin(t *testing.T) {
	t.Parallel()
	r := Record{
		Topic: "in", Partition: 3, Offset: 1200, Time: time.UnixMilli(1_700_000_000_123).UTC(),
		Key: []byte("item"), Value: []byte("v"), Headers: []Header{
			{"ce_id", []byte("e1")}, {HeaderOriginOffset, []byte("7")},
		},
	}
	to := TopicPartition{"g.misplaced", 1}
	out := Forwarded(&r, to, []byte("ann"))
	require.Equal(t, Record{
		Topic: "g.misplaced", Partition: 1, Key: []byte("ann"), Value: []byte("v"),
		Headers: []Header{
			{"ce_id", []byte("e1")},
			{HeaderOriginTopic, []byte("in")},
			{HeaderOriginPartition, []byte("3")},
			{HeaderOriginOffset, []byte("1200")},
			{HeaderOriginTime, []byte("1700000000123")},
		},
	}, out, "what a producer has written under these names does not count")
	o, err := OriginOf(&out)
	require.NoError(t, err)
	require.Equal(t, r.Origin(), o)
	require.Equal(t, "in/3@1200 1700000000123", o.String())
	require.False(t, IsOlder(&out))
	older := ForwardedOlder(&r, to, []byte("ann"))
	require.True(t, IsOlder(&older))
	require.Equal(t, out.Headers, older.Headers[:len(out.Headers)])
	older = Forwarded(&older, to, nil)
	require.False(t, IsOlder(&older))

	for _, absent := range []time.Time{{}, time.UnixMilli(-1), time.UnixMilli(maxMillis + 1)} {
		r.Time = absent
		out := Forwarded(&r, to, nil)
		o, err := OriginOf(&out)
		require.NoError(t, err)
		require.Equal(t, r.Origin(), o)
	}
	for i := range out.Headers {
		broken := out
		broken.Headers = slices.Clone(out.Headers)
		if broken.Headers[i].Key == "ce_id" {
			continue
		}
		for _, v := range []string{"", "-1", "x", "99999999999999999999"} {
			if broken.Headers[i].Value = []byte(v); v != "" &&
				broken.Headers[i].Key == HeaderOriginTopic {
				continue
			}
			_, err := OriginOf(&broken)
			require.ErrorContains(t, err, broken.Headers[i].Key)
		}
	}
	_, err = OriginOf(&r)
	require.ErrorContains(t, err, "was not forwarded")
}

func FuzzParseIntent(f *testing.F) {
	for _, s := range []string{
		"", "v1:1-2", "v1:1000-1999!0,3,996", "v1:9223372036854775806-9223372036854775807!1",
		strings.Repeat("v1:", 9), "v2:1-2@3", "v2:1000-1999@1700000000123!0,3,996",
	} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		r, err := ParseIntent(s)
		if err != nil || r == nil {
			return
		}
		require.Equal(t, s, r.String(), "what can be read is what would be written")
		for _, o := range r.Excluded {
			require.True(t, o >= r.First && o <= r.Last && r.Excludes(o))
		}
	})
}

func TestNamesOfAGroupsOwnTopics(t *testing.T) {
	t.Parallel()
	assert.Equal(t, "g.poison", PoisonTopic("g"))
	assert.Equal(t, "g.replay", ReplayTopic("g"))
	assert.Equal(t, "g.misplaced", MisplacedTopic("g"))
	assert.Equal(t, "g.retry", RetryGroup("g"))
	for delay, want := range map[time.Duration]string{
		10 * time.Second:        "g.retry.10s",
		time.Minute:             "g.retry.1m",
		90 * time.Second:        "g.retry.1m30s",
		10 * time.Minute:        "g.retry.10m",
		time.Hour:               "g.retry.1h",
		1500 * time.Millisecond: "g.retry.1.5s",
		100 * time.Second:       "g.retry.1m40s",
	} {
		assert.Equal(t, want, RetryTopic("g", delay))
	}
}

// The hashes are those in the tests of Kafka's Java client: a key that moves to another partition
// loses its order.
func TestPartitionOfIsThatOfTheJavaClient(t *testing.T) {
	t.Parallel()
	for key, hash := range map[string]int32{
		"21":                         -973932308,
		"foobar":                     -790332482,
		"a-little-bit-long-string":   -985981536,
		"a-little-bit-longer-string": -1486304829,
		"lkjh234lh9fiuh90y23oiuhsafujhadof229phr9h19h89h8": -58897971,
	} {
		assert.Equal(t, hash, int32(murmur2([]byte(key))), key)
		assert.Equal(t, int(hash&0x7fffffff)%7, PartitionOf([]byte(key), 7), key)
	}
	assert.Zero(t, PartitionOf([]byte("k"), 0))
}

func TestLogTimesThatFallAreRaised(t *testing.T) {
	t.Parallel()
	noon := time.Date(2026, 3, 1, 12, 0, 0, 0, time.UTC)
	at := func(seconds int) time.Time { return noon.Add(time.Duration(seconds) * time.Second) }
	records := []Record{
		{Time: at(0), Appended: true},
		{Time: at(900)}, // of a producer
		{Time: at(20), Appended: true},
		{Time: at(10), Appended: true},
		{Appended: true}, // absent
		{Time: at(-5)},
		{Time: at(21), Appended: true},
	}
	want := []int{0, 900, 20, 20, 0, -5, 21}
	var c Clock
	for i := range records {
		r := &records[i]
		said := r.Time
		c.Raise(records[i : i+1])
		require.True(t, r.Time.Add(-r.Shift).Equal(said), "record %d", i)
		if !said.IsZero() {
			require.Equal(t, at(want[i]), r.Time, "record %d", i)
		}
	}
	require.Equal(t, ClockAt(at(21)), c)

	raised := records[3]
	raised.Topic, raised.Offset = "in", 3
	out := Forwarded(&raised, TopicPartition{Topic: MisplacedTopic("g")}, nil)
	require.Equal(t, "10000", out.Header(HeaderOriginShift))
	o, err := OriginOf(&out)
	require.NoError(t, err)
	require.Equal(t, at(10), o.Time, "what the log wrote")
	require.Equal(t, at(20), out.LogTime())
	back, err := AtOrigin(&out)
	require.NoError(t, err)
	require.Equal(t, raised.Origin(), back.Origin())
	require.Equal(t, raised.Time, back.Time)
	for _, wrong := range []string{"x", "9999999999999", "-9999999999999"} {
		out.Headers[len(out.Headers)-1].Value = []byte(wrong)
		_, err := AtOrigin(&out)
		require.ErrorContains(t, err, HeaderOriginShift)
	}
}
