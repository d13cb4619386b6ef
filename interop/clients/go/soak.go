package main

import (
	"context"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

// How long a token is kept in use before the next one is asked for.
const tokenAge = 5 * time.Second

// What has been seen, by its identifier.
type seen struct{ svids, issuers, authorities, jwtKeys map[string]bool }

func soak(id spiffeid.ID, span time.Duration, rotations int) error {
	ctx, cancel := context.WithTimeout(context.Background(), span+time.Minute)
	defer cancel()
	x509, err := workloadapi.NewX509Source(ctx)
	if err != nil {
		return err
	}
	defer x509.Close()
	jwt, err := workloadapi.NewJWTSource(ctx)
	if err != nil {
		return err
	}
	defer jwt.Close()
	listener, err := listen(x509, id, "127.0.0.1:0")
	if err != nil {
		return err
	}
	defer listener.Close()
	go accept(listener)

	var token string
	var tokenSince time.Time
	handshakes, validations := 0, 0
	all := seen{map[string]bool{}, map[string]bool{}, map[string]bool{}, map[string]bool{}}
	for end := time.Now().Add(span); time.Now().Before(end); time.Sleep(50 * time.Millisecond) {
		if err := greeting(x509, id, listener.Addr().String()); err != nil {
			return fmt.Errorf("after %d handshakes: %w", handshakes, err)
		}
		handshakes++
		if time.Since(tokenSince) > tokenAge {
			svid, err := jwt.FetchJWTSVID(ctx, jwtsvid.Params{Audience: audience, Subject: id})
			if err != nil {
				return fmt.Errorf("after %d tokens: %w", validations, err)
			}
			token, tokenSince = svid.Marshal(), time.Now()
		}
		if _, err := jwtsvid.ParseAndValidate(token, jwt, []string{audience}); err != nil {
			return fmt.Errorf("after %d validations: %w", validations, err)
		}
		validations++
		if err := all.note(x509, jwt, id); err != nil {
			return err
		}
	}
	fmt.Printf("%d handshakes and %d validations without failure, over %d SVIDs of %d issuers, %d authorities, %d JWT keys\n",
		handshakes, validations, len(all.svids), len(all.issuers), len(all.authorities), len(all.jwtKeys))
	if len(all.issuers) <= rotations || len(all.jwtKeys) <= rotations {
		return fmt.Errorf("expected %d rotations of CA and JWT key", rotations)
	}
	return nil
}

func (s seen) note(x509 *workloadapi.X509Source, jwt *workloadapi.JWTSource, id spiffeid.ID) error {
	svid, err := x509.GetX509SVID()
	if err != nil {
		return err
	}
	s.svids[svid.Certificates[0].SerialNumber.String()] = true
	s.issuers[string(svid.Certificates[0].AuthorityKeyId)] = true
	bundle, err := x509.GetX509BundleForTrustDomain(id.TrustDomain())
	if err != nil {
		return err
	}
	for _, authority := range bundle.X509Authorities() {
		s.authorities[string(authority.SubjectKeyId)] = true
	}
	keys, err := jwt.GetJWTBundleForTrustDomain(id.TrustDomain())
	if err != nil {
		return err
	}
	for keyID := range keys.JWTAuthorities() {
		s.jwtKeys[keyID] = true
	}
	return nil
}
