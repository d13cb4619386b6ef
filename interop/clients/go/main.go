// Fetches everything the Workload API offers with go-spiffe, validates it, and makes mTLS with itself.
// Prints one line per finding; exits with 1 at the first thing that is wrong.
package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/spiffetls"
	"github.com/spiffe/go-spiffe/v2/spiffetls/tlsconfig"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

const audience = "interop"

func main() {
	if len(os.Args) != 2 {
		fmt.Fprintln(os.Stderr, "usage: interop SPIFFE-ID")
		os.Exit(2)
	}
	if err := run(os.Args[1]); err != nil {
		fmt.Fprintln(os.Stderr, "go-spiffe:", err)
		os.Exit(1)
	}
}

func run(expected string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	id, err := spiffeid.FromString(expected)
	if err != nil {
		return err
	}
	client, err := workloadapi.New(ctx)
	if err != nil {
		return err
	}
	defer client.Close()

	x509, err := client.FetchX509Context(ctx)
	if err != nil {
		return fmt.Errorf("fetch X.509 context: %w", err)
	}
	if got := x509.DefaultSVID().ID; got != id {
		return fmt.Errorf("expected %s, got %s", id, got)
	}
	fmt.Println("x509-svid", x509.DefaultSVID().ID, "chain of", len(x509.DefaultSVID().Certificates))
	for _, bundle := range x509.Bundles.Bundles() {
		fmt.Println("x509-bundle", bundle.TrustDomain(), len(bundle.X509Authorities()))
	}

	token, err := client.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience, Subject: id})
	if err != nil {
		return fmt.Errorf("fetch JWT-SVID: %w", err)
	}
	if _, err := client.ValidateJWTSVID(ctx, token.Marshal(), audience); err != nil {
		return fmt.Errorf("validate JWT-SVID at the agent: %w", err)
	}
	if _, err := client.ValidateJWTSVID(ctx, token.Marshal(), "other"); err == nil {
		return errors.New("a token for another audience was accepted")
	}
	bundles, err := client.FetchJWTBundles(ctx)
	if err != nil {
		return fmt.Errorf("fetch JWT bundles: %w", err)
	}
	if _, err := jwtsvid.ParseAndValidate(token.Marshal(), bundles, []string{audience}); err != nil {
		return fmt.Errorf("validate JWT-SVID here: %w", err)
	}
	fmt.Println("jwt-svid", token.ID)

	return mutualTLS(ctx, id)
}

func mutualTLS(ctx context.Context, id spiffeid.ID) error {
	listener, err := spiffetls.Listen(ctx, "tcp", "127.0.0.1:0", tlsconfig.AuthorizeID(id))
	if err != nil {
		return fmt.Errorf("listen: %w", err)
	}
	defer listener.Close()
	go func() {
		if conn, err := listener.Accept(); err == nil {
			io.WriteString(conn, "hello")
			conn.Close()
		}
	}()
	conn, err := spiffetls.Dial(ctx, "tcp", listener.Addr().String(), tlsconfig.AuthorizeID(id))
	if err != nil {
		return fmt.Errorf("dial: %w", err)
	}
	defer conn.Close()
	greeting, err := io.ReadAll(conn)
	if err != nil || string(greeting) != "hello" {
		return fmt.Errorf("mTLS carried %q: %v", greeting, err)
	}
	fmt.Println("mtls", id)
	return nil
}
