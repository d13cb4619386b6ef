package main

import (
	"context"
	"errors"
	"fmt"
	"time"

	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/workloadapi"
)

func check(id spiffeid.ID, address string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*time.Minute)
	defer cancel()
	source, err := workloadapi.NewX509Source(ctx)
	if err != nil {
		return fmt.Errorf("fetch X.509-SVID: %w", err)
	}
	defer source.Close()
	first, err := source.GetX509SVID()
	if err != nil {
		return err
	}
	if first.ID != id {
		return fmt.Errorf("expected %s, got %s", id, first.ID)
	}
	fmt.Println("x509-svid", first.ID, "chain of", len(first.Certificates))
	if err := checkJWT(ctx, id); err != nil {
		return err
	}
	if err := greeting(source, id, address); err != nil {
		return err
	}
	fmt.Println("mtls", address)
	for {
		if err := source.WaitUntilUpdated(ctx); err != nil {
			return fmt.Errorf("no rotation: %w", err)
		}
		if next, err := source.GetX509SVID(); err != nil {
			return err
		} else if next.Certificates[0].SerialNumber.Cmp(first.Certificates[0].SerialNumber) != 0 {
			break
		}
	}
	fmt.Println("rotated")
	return greeting(source, id, address)
}

func checkJWT(ctx context.Context, id spiffeid.ID) error {
	client, err := workloadapi.New(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
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
	return nil
}
