package record

import (
	"testing"
	"time"

	"github.com/stretchr/testify/require"
)

func TestRecordTimesThatSayNothing(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 28, 12, 0, 0, 123e6, time.UTC)
	require.Equal(t, at, TimeOf(at.UnixMilli()))
	require.Equal(t, 2010, TimeOf(earliestTime).Year())
	for name, ms := range map[string]int64{
		"none": -1, "zero": 0, "seconds": at.Unix(), "micros": at.UnixMicro(),
		"nanos": at.UnixNano(), "before 2010": earliestTime - 1, "2105": latestTime,
		"lowest": -1 << 63, "highest": 1<<63 - 1,
	} {
		require.Zero(t, TimeOf(ms), name)
	}
}

func TestLogTimeIsThatOfTheOriginInTopicsOfAGroup(t *testing.T) {
	t.Parallel()
	at := time.Date(2026, 11, 28, 12, 0, 0, 0, time.UTC)
	first := at.Add(-24 * time.Hour)
	for _, tt := range []struct {
		name, topic, header string
		want                time.Time
	}{
		{"of applications", "interactions", first.Format(time.RFC3339Nano), at},
		{"dead letters", PoisonTopic("g"), first.Format(time.RFC3339Nano), at},
		{"replay", ReplayTopic("g"), first.Format(time.RFC3339Nano), first},
		{"retry", RetryTopic("g", time.Minute), first.Format(time.RFC3339Nano), first},
		{"replay of a record without a time", ReplayTopic("g"), "0001-01-01T00:00:00Z", at},
		{"not a time", ReplayTopic("g"), "yesterday", at},
		{"no header", ReplayTopic("g"), "", at},
	} {
		r := Record{
			Topic: tt.topic, Time: at,
			Headers: []Header{{Key: HeaderTime, Value: []byte(tt.header)}},
		}
		require.Equal(t, tt.want, r.LogTime(), tt.name)
	}
	to := TopicPartition{Topic: MisplacedTopic("g")}
	forwarded := Forwarded(&Record{Topic: "interactions", Time: first}, to, nil)
	forwarded.Time = at
	require.Equal(t, first, forwarded.LogTime())
	forwarded = Forwarded(&Record{Topic: "interactions"}, to, nil)
	forwarded.Time = at
	require.Equal(t, at, forwarded.LogTime(), "of a record without a time")
	replayed := Record{Topic: ReplayTopic("g"), Time: at, Headers: []Header{
		{HeaderTime, []byte(first.Format(time.RFC3339Nano))},
	}}
	forwarded = Forwarded(&replayed, to, nil)
	require.Equal(t, first, forwarded.LogTime(), "of a replayed one")
}
