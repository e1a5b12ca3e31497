// Command s3server is an S3 server in memory for tests: rclone's S3 library, with signature checks.
//
//	s3server ADDRESS ACCESS_KEY_ID SECRET_ACCESS_KEY
//
// Every request must be signed with that key; anything else is answered with 403.
package main

import (
	"fmt"
	"net"
	"net/http"
	"os"

	"github.com/rclone/gofakes3"
	"github.com/rclone/gofakes3/s3mem"
)

func main() {
	if len(os.Args) != 4 {
		fmt.Fprintln(os.Stderr, "usage: s3server ADDRESS ACCESS_KEY_ID SECRET_ACCESS_KEY")
		os.Exit(2)
	}
	listener, err := net.Listen("tcp", os.Args[1])
	if err != nil {
		fmt.Fprintln(os.Stderr, "s3server:", err)
		os.Exit(1)
	}
	keys := map[string]string{os.Args[2]: os.Args[3]}
	server := gofakes3.New(s3mem.New(), gofakes3.WithV4Auth(keys))
	fmt.Println(listener.Addr())
	fmt.Fprintln(os.Stderr, "s3server:", http.Serve(listener, server.Server()))
	os.Exit(1)
}
