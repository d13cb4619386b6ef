// A workload on go-spiffe.
//
//	interop check ID ADDRESS       what the Workload API offers, before and after a rotation, and mTLS with ADDRESS
//	interop serve ID ADDRESS       greets whoever makes mTLS as ID, until killed
//	interop greet ID ADDRESS       one mTLS connection to ADDRESS
//	interop soak ID SECONDS SVIDS  makes mTLS with itself and validates tokens all the time, through SVIDS rotations
//
// Exits with 1 at the first thing that is wrong.
package main

import (
	"context"
	"fmt"
	"io"
	"net"
	"os"
	"strconv"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

const audience = "interop"

func main() {
	if err := run(os.Args[1:]); err != nil {
		fmt.Fprintln(os.Stderr, "go-spiffe:", err)
		os.Exit(1)
	}
}

func run(arguments []string) error {
	if len(arguments) < 3 {
		return fmt.Errorf("usage: interop check|serve|greet|soak ID ...")
	}
	id, err := spiffeid.FromString(arguments[1])
	if err != nil {
		return err
	}
	switch arguments[0] {
	case "check":
		return check(id, arguments[2])
	case "serve":
		return serve(id, arguments[2])
	case "greet":
		return greet(id, arguments[2])
	case "soak":
		seconds, err := strconv.Atoi(arguments[2])
		if err != nil || len(arguments) != 4 {
			return fmt.Errorf("soak takes seconds and the number of rotations: %v", err)
		}
		rotations, err := strconv.Atoi(arguments[3])
		if err != nil {
			return err
		}
		return soak(id, time.Duration(seconds)*time.Second, rotations)
	}
	return fmt.Errorf("no such command: %s", arguments[0])
}

func serve(id spiffeid.ID, address string) error {
	source, err := workloadapi.NewX509Source(context.Background())
	if err != nil {
		return err
	}
	defer source.Close()
	listener, err := listen(source, id, address)
	if err != nil {
		return err
	}
	accept(listener)
	return nil
}

func listen(source *workloadapi.X509Source, id spiffeid.ID, address string) (net.Listener, error) {
	mode := spiffetls.MTLSServerWithSource(tlsconfig.AuthorizeID(id), source)
	return spiffetls.ListenWithMode(context.Background(), "tcp", address, mode)
}

func accept(listener net.Listener) {
	for {
		conn, err := listener.Accept()
		if err != nil {
			return
		}
		go func() {
			defer conn.Close()
			conn.SetDeadline(time.Now().Add(10 * time.Second))
			io.WriteString(conn, "hello")
		}()
	}
}

func greet(id spiffeid.ID, address string) error {
	source, err := workloadapi.NewX509Source(context.Background())
	if err != nil {
		return err
	}
	defer source.Close()
	return greeting(source, id, address)
}

func greeting(source *workloadapi.X509Source, id spiffeid.ID, address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	mode := spiffetls.MTLSClientWithSource(tlsconfig.AuthorizeID(id), source)
	conn, err := spiffetls.DialWithMode(ctx, "tcp", address, mode)
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer conn.Close()
	if got, err := io.ReadAll(conn); err != nil || string(got) != "hello" {
		return fmt.Errorf("mTLS carried %q: %v", got, err)
	}
	return nil
}
