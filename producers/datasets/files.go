package datasets

import (
	"archive/zip"
	"bufio"
	"bytes"
	"compress/gzip"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"
	"unicode/utf8"

	"github.com/slipstream-rec/slipstream/schemas"
)

// files finds the files of a data set by name, wherever in the folder or zip they lie.
type files struct {
	fs     fs.FS
	closer io.Closer
	byName map[string]string
	// main is the name of the file that was named itself, instead of its folder.
	main string
}

// maxDepth is how deep below the given folder files are looked for: zips hold a folder, and people
// unpack them into another.
const maxDepth = 3

func openFiles(p string) (*files, error) {
	info, err := os.Stat(p)
	if err != nil {
		return nil, fmt.Errorf("open data set: %w", err)
	}
	f := &files{byName: map[string]string{}}
	switch {
	case info.IsDir():
		f.fs = os.DirFS(p)
	case strings.EqualFold(filepath.Ext(p), ".zip"):
		z, err := zip.OpenReader(p)
		if err != nil {
			return nil, fmt.Errorf("open data set %s: %w", p, err)
		}
		f.fs, f.closer = z, z
	default:
		f.fs, f.main = os.DirFS(filepath.Dir(p)), filepath.Base(p)
		f.byName[f.main] = f.main
	}
	if err := f.index(); err != nil {
		return nil, errors.Join(fmt.Errorf("open data set %s: %w", p, err), f.Close())
	}
	return f, nil
}

// index notes where each file name is first seen, the shallowest first.
func (f *files) index() error {
	var found []string
	depth := maxDepth
	if f.main != "" {
		depth = 0
	}
	err := fs.WalkDir(f.fs, ".", func(p string, e fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		hidden := p != "." && (strings.HasPrefix(e.Name(), ".") || e.Name() == "__MACOSX")
		switch {
		case e.IsDir() && (hidden || strings.Count(p, "/") >= depth && p != "."):
			return fs.SkipDir
		case !e.IsDir() && !hidden:
			found = append(found, p)
		}
		return nil
	})
	slices.SortStableFunc(
		found,
		func(a, b string) int { return strings.Count(a, "/") - strings.Count(b, "/") },
	)
	for _, p := range found {
		if _, ok := f.byName[path.Base(p)]; !ok {
			f.byName[path.Base(p)] = p
		}
	}
	return err
}

// Close releases the zip.
func (f *files) Close() error {
	if f.closer == nil {
		return nil
	}
	return f.closer.Close()
}

func (f *files) has(name string) bool { _, ok := f.byName[name]; return ok }

// recognise tells the format by the names of the files.
func (f *files) recognise() (Format, error) {
	marks := []struct {
		name   string
		format Format
	}{
		{"u.data", ML100K},
		{"user_artists.dat", HetRecLastFM},
		{"ratings.dat", ML1M},
		{"ratings.csv", MLLatest},
		{"rating.csv", MLLatest}, // MovieLens 20M as Kaggle has it
	}
	for _, m := range marks {
		if !f.has(m.name) || f.main != "" && f.main != m.name {
			continue
		}
		if m.format == MLLatest && !f.isMovieLensCSV(m.name) {
			continue
		}
		return m.format, nil
	}
	_, err := f.interactionsCSV()
	if err == nil {
		return CSV, nil
	}
	return "", fmt.Errorf("the data set's format is not recognised: looked for u.data (%s), "+
		"ratings.dat (%s), ratings.csv (%s), user_artists.dat (%s) or one CSV file with the "+
		"header user,item,timestamp (%s); name a format if the files are called otherwise: %w",
		ML100K, ML1M, MLLatest, HetRecLastFM, CSV, err)
}

func (f *files) isMovieLensCSV(name string) bool {
	r, err := f.openCSV(name)
	if err != nil {
		return false
	}
	defer func() { _ = r.Close() }()
	_, err = r.columns("userId", "movieId", "rating", "timestamp")
	return err == nil
}

// open returns the content of the file called name, unpacked.
func (f *files) openFile(name string) (io.ReadCloser, error) {
	p, ok := f.byName[name]
	if !ok {
		return nil, fmt.Errorf("file %s is missing: %w", name, fs.ErrNotExist)
	}
	r, err := f.fs.Open(p)
	if err != nil {
		return nil, err
	}
	return content(name, r)
}

// either returns the first of the names that is there, or the first.
func (f *files) either(names ...string) string {
	for _, n := range names {
		if f.has(n) {
			return n
		}
	}
	return names[0]
}

// content returns what a file holds, unpacked and without a byte order mark. It closes r when it
// fails.
func content(name string, r io.ReadCloser) (io.ReadCloser, error) {
	r, err := unpacked(name, r)
	if err != nil {
		return nil, err
	}
	b := bufio.NewReaderSize(r, 1<<16)
	// An error, or the end, comes again with the first read.
	head, _ := b.Peek(3)
	switch {
	case bytes.HasPrefix(head, []byte("\xef\xbb\xbf")):
		_, err = b.Discard(3)
	case bytes.HasPrefix(head, []byte("\xff\xfe")), bytes.HasPrefix(head, []byte("\xfe\xff")):
		err = fmt.Errorf("%s is UTF-16: save it as UTF-8", name)
	}
	if err != nil {
		return nil, errors.Join(err, r.Close())
	}
	return &buffered{b, r}, nil
}

// buffered is a file that is read through a buffer.
type buffered struct {
	*bufio.Reader
	io.Closer
}

func unpacked(name string, r io.ReadCloser) (io.ReadCloser, error) {
	if !strings.HasSuffix(name, ".gz") {
		return r, nil
	}
	z, err := gzip.NewReader(r)
	if err != nil {
		return nil, errors.Join(fmt.Errorf("unpack %s: %w", name, err), r.Close())
	}
	return &gzipFile{Reader: z, under: r}, nil
}

type gzipFile struct {
	*gzip.Reader
	under io.Closer
}

// Close ends the unpacking and closes what is under it.
func (g *gzipFile) Close() error { return errors.Join(g.Reader.Close(), g.under.Close()) }

// lines calls each for every line of the file but empty ones, split at sep. The fields are valid
// during the call only.
func (f *files) lines(
	ctx context.Context,
	name, sep string,
	read charset,
	each func(n int, fields []string) error,
) error {
	r, err := f.openFile(name)
	if err != nil {
		return err
	}
	defer func() { _ = r.Close() }()
	s := bufio.NewScanner(r)
	s.Buffer(make([]byte, 64<<10), 1<<20)
	var fields []string
	n := 1
	for ; s.Scan(); n++ {
		if n%4096 == 0 && ctx.Err() != nil {
			return ctx.Err()
		}
		line := bytes.TrimSuffix(s.Bytes(), []byte("\r"))
		if len(line) == 0 {
			continue
		}
		s, err := read(line)
		if err == nil {
			fields = split(fields[:0], s, sep)
			err = each(n, fields)
		}
		if err != nil {
			return fmt.Errorf("%s, line %d: %w", name, n, err)
		}
	}
	if err := s.Err(); err != nil {
		return fmt.Errorf("read %s, line %d: %w", name, n, err)
	}
	return nil
}

func split(into []string, s, sep string) []string {
	for {
		before, after, found := strings.Cut(s, sep)
		into = append(into, before)
		if !found {
			return into
		}
		s = after
	}
}

// charset returns a line as UTF-8.
type charset func(line []byte) (string, error)

// onlyUTF8 refuses what is not UTF-8. Ids are never guessed: two of them could become one.
func onlyUTF8(line []byte) (string, error) {
	s := string(line)
	return s, schemas.CheckUTF8(s)
}

// orLatin1 takes a line that is not UTF-8 for Latin-1. It is for the names and tags of MovieLens
// 100k and 1M, and of HetRec, whose documents say so.
func orLatin1(line []byte) (string, error) {
	if utf8.Valid(line) {
		return string(line), nil
	}
	b := make([]byte, 0, len(line)+8)
	for _, c := range line {
		b = utf8.AppendRune(b, rune(c))
	}
	return string(b), nil
}
