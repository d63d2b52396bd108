package model

import (
	"fmt"
	"math"
	"slices"
	"testing"
)

func ids(candidates []Candidate, ranked []Ranked) (out []string) {
	for _, r := range ranked {
		out = append(out, fmt.Sprint(candidates[r.Candidate].ID, ":", r.Source))
	}
	return out
}

func TestRank(t *testing.T) {
	t.Parallel()
	x, y := []float32{1, 0, 0, 0, 0, 0, 0, 0}, []float32{0, 1, 0, 0, 0, 0, 0, 0}
	for _, tc := range []struct {
		name       string
		candidates []Candidate
		n          int
		want       []string
	}{
		{"empty", nil, 3, nil},
		{
			"by model",
			[]Candidate{{ID: "a", Score: 1, Scored: true}, {ID: "b", Score: 2, Scored: true}},
			5,
			[]string{"b:model", "a:model"},
		},
		{
			"ties by id",
			[]Candidate{{ID: "b", Score: 1, Scored: true}, {ID: "a", Score: 1, Scored: true}},
			2,
			[]string{"a:model", "b:model"},
		},
		{
			"twice given",
			[]Candidate{{ID: "a", Score: 1, Scored: true}, {ID: "a", Score: 9, Scored: true}},
			2,
			[]string{"a:model"},
		},
		{"friends lift", []Candidate{
			{ID: "a", Score: 1, Scored: true},
			{ID: "b", Score: 0.9, Scored: true},
			{ID: "c", Score: 0.8, Scored: true, Friends: 3},
		}, 2, []string{"c:friends", "a:model"}},
		{
			"unscored count as least",
			[]Candidate{{ID: "a", Score: -5, Scored: true}, {ID: "b", Trending: 1}},
			2,
			[]string{"b:trending", "a:model"},
		},
		{
			"nothing scored",
			[]Candidate{{ID: "a", Trending: 0.5}, {ID: "b", Trending: 1}},
			2,
			[]string{"b:trending", "a:trending"},
		},
		{
			"not a number",
			[]Candidate{
				{ID: "a", Score: float32(math.NaN()), Scored: true},
				{ID: "b", Score: 1, Scored: true},
			},
			2,
			[]string{"b:model", "a:model"},
		},
		{"repetition costs", []Candidate{
			{ID: "a", Score: 1, Scored: true, Vector: x},
			{ID: "b", Score: 0.95, Scored: true, Vector: x},
			{ID: "c", Score: 0.9, Scored: true, Vector: y},
		}, 3, []string{"a:model", "c:model", "b:model"}},
	} {
		t.Run(tc.name, func(t *testing.T) {
			t.Parallel()
			if got := ids(tc.candidates, Rank(tc.candidates, tc.n, DefaultBlend())); !slices.Equal(
				got,
				tc.want,
			) {
				t.Errorf("Rank = %v, want %v", got, tc.want)
			}
		})
	}
}

func TestRankDependsOnTheSetAlone(t *testing.T) {
	t.Parallel()
	r := random(3)
	var candidates []Candidate
	for i := range 60 {
		v := make([]float32, 8)
		r.normal(v, 1)
		candidates = append(
			candidates,
			Candidate{
				ID: fmt.Sprint(i), Score: v[0], Scored: i%4 != 0, Friends: float32(i % 3),
				Trending: v[1], Content: v[2], Vector: v,
			},
		)
	}
	want := ids(candidates, Rank(candidates, 20, DefaultBlend()))
	for range 20 {
		for i := range candidates {
			j := r.below(i + 1)
			candidates[i], candidates[j] = candidates[j], candidates[i]
		}
		if got := ids(candidates, Rank(candidates, 20, DefaultBlend())); !slices.Equal(got, want) {
			t.Fatalf("another order of input: %v, want %v", got, want)
		}
	}
}

func TestDiversityAgainstBruteForce(t *testing.T) {
	t.Parallel()
	r := random(5)
	for range 50 {
		var candidates []Candidate
		var pool []Ranked
		for i := range 30 {
			v := make([]float32, 8)
			r.normal(v, 1)
			candidates = append(candidates, Candidate{Vector: v})
			pool = append(pool, Ranked{Candidate: i, Score: -float32(i) / 10})
		}
		var want []int
		for len(want) < 10 {
			best, bestScore := -1, float32(math.Inf(-1))
			for i := range pool {
				if slices.Contains(want, i) {
					continue
				}
				like := float32(0)
				for _, j := range want {
					like = max(like, Similarity(candidates[i].Vector, candidates[j].Vector))
				}
				if s := pool[i].Score - 0.5*like; s > bestScore {
					best, bestScore = i, s
				}
			}
			want = append(want, best)
		}
		var got []int
		for _, p := range diversify(candidates, pool, 10, 0.5) {
			got = append(got, p.Candidate)
		}
		if !slices.Equal(got, want) {
			t.Fatalf("diversify = %v, by brute force %v", got, want)
		}
	}
}

func TestDecayedCommutes(t *testing.T) {
	t.Parallel()
	var a, b Decayed
	times := []float64{5, 100, 40, 80, 3}
	for i := range times {
		a.Add(1, times[i], 30)
		b.Add(1, times[len(times)-1-i], 30)
	}
	if got, want := b.Now(120, 30), a.Now(120, 30); math.Abs(got-want) > 1e-12 {
		t.Errorf("in another order %v, want %v", got, want)
	}
	var c Decayed
	c.Add(8, 0, 10)
	if got := c.Now(30, 10); got != 1 {
		t.Errorf("8 after three half-lives = %v, want 1", got)
	}
}

func TestFriendsCarryNewUsersAndFade(t *testing.T) {
	t.Parallel()
	cfg := small()
	friend := make([]float32, cfg.Dim+1)
	friend[0], friend[cfg.Dim] = 3, 1
	before := float32(math.Inf(1))
	for _, events := range []uint32{0, 1, 5, 100} {
		q := make([]float32, cfg.Dim+1)
		q[cfg.Dim] = 1
		AddFriends(cfg, q, events, [][]float32{friend, nil, friend})
		if q[0] >= before || q[0] <= 0 || q[cfg.Dim] != 1 {
			t.Errorf("after %d events %v, bias %v; before %v", events, q[0], q[cfg.Dim], before)
		}
		before = q[0]
	}
}
