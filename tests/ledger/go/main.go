// Go's own transparency log packages (golang.org/x/mod/sumdb), which the C2SP specifications grew out of, as the other side:
//
//	submit NAME   make a log of that name, sign it, and print requests to a witness, as JSON
//	check         read what mcpgw made from standard input, as JSON, and exit with 0 if all of it is right
package main

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"os"
	"strconv"
	"strings"

	"golang.org/x/mod/sumdb/note"
	"golang.org/x/mod/sumdb/tlog"
)

type request struct {
	Old, Size int64
	Body      string
}

type claim struct {
	Keys        []string
	Note        string // a checkpoint
	Older       string // an earlier one
	Consistency []tlog.Hash
	Index       int64
	Leaf        []byte // the record itself
	Inclusion   []tlog.Hash
}

func main() {
	switch os.Args[1] {
	case "submit":
		submit(os.Args[2])
	case "check":
		var c claim
		must(json.NewDecoder(os.Stdin).Decode(&c))
		check(c)
	}
}

func submit(name string) {
	private, public, err := note.GenerateKey(rand.Reader, name)
	must(err)
	signer, err := note.NewSigner(private)
	must(err)
	var hashes []tlog.Hash
	reader := tlog.HashReaderFunc(func(indexes []int64) ([]tlog.Hash, error) {
		found := make([]tlog.Hash, len(indexes))
		for i, index := range indexes {
			found[i] = hashes[index]
		}
		return found, nil
	})
	for n := int64(0); n < 300; n++ {
		more, err := tlog.StoredHashes(n, []byte(fmt.Sprintf("record %d", n)), reader)
		must(err)
		hashes = append(hashes, more...)
	}
	var requests []request
	for _, step := range [][2]int64{{0, 1}, {1, 7}, {7, 7}, {7, 256}, {256, 300}} {
		var body bytes.Buffer
		fmt.Fprintf(&body, "old %d\n", step[0])
		if step[0] > 0 {
			proof, err := tlog.ProveTree(step[1], step[0], reader)
			must(err)
			for _, hash := range proof {
				fmt.Fprintln(&body, base64.StdEncoding.EncodeToString(hash[:]))
			}
		}
		root, err := tlog.TreeHash(step[1], reader)
		must(err)
		text := fmt.Sprintf("%s\n%d\n%s\n", name, step[1], base64.StdEncoding.EncodeToString(root[:]))
		signed, err := note.Sign(&note.Note{Text: text}, signer)
		must(err)
		fmt.Fprintf(&body, "\n%s", signed)
		requests = append(requests, request{step[0], step[1], body.String()})
	}
	must(json.NewEncoder(os.Stdout).Encode(map[string]any{"Key": public, "Requests": requests}))
}

func check(c claim) {
	var verifiers []note.Verifier
	for _, key := range c.Keys {
		verifier, err := note.NewVerifier(key)
		must(err)
		verifiers = append(verifiers, verifier)
	}
	size, root := opened(c.Note, verifiers)
	must(tlog.CheckRecord(c.Inclusion, size, root, c.Index, tlog.RecordHash(c.Leaf)))
	older, olderRoot := opened(c.Older, verifiers)
	must(tlog.CheckTree(c.Consistency, size, root, older, olderRoot))
}

func opened(text string, verifiers []note.Verifier) (size int64, root tlog.Hash) {
	signed, err := note.Open([]byte(text), note.VerifierList(verifiers...))
	must(err)
	lines := strings.Split(signed.Text, "\n")
	size, err = strconv.ParseInt(lines[1], 10, 64)
	must(err)
	root, err = tlog.ParseHash(lines[2])
	must(err)
	return size, root
}

func must(err error) {
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
}
