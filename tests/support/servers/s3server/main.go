// Command s3server is an S3 server in memory for tests: rclone's S3 library, with signature checks.
//
//	s3server ADDRESS ACCESS_KEY_ID SECRET_ACCESS_KEY
//
// Every request must be signed with that key; anything else is answered with 403.
package main

import (
	"context"
	"fmt"
	"net/http"
	"os"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"
)

// backend takes an empty delimiter for none, as S3 does.
type backend struct {
	gofakes3.Backend
}

func (b backend) ListBucket(ctx context.Context, name string, prefix *gofakes3.Prefix, page gofakes3.ListBucketPage) (*gofakes3.ObjectList, error) {
	if prefix != nil && prefix.Delimiter == "" {
		prefix.HasDelimiter = false
	}
	return b.Backend.ListBucket(ctx, name, prefix, page)
}

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: s3server ADDRESS ACCESS_KEY_ID SECRET_ACCESS_KEY")
		os.Exit(2)
	}
	keys := map[string]string{os.Args[2]: os.Args[3]}
	server := gofakes3.New(backend{s3mem.New()}, gofakes3.WithV4Auth(keys))
	fmt.Fprintln(os.Stderr, "s3server:", http.ListenAndServe(os.Args[1], server.Server()))
	os.Exit(1)
}
