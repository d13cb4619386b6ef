// Runs the vectors against go-spiffe: one line a vector, its ID and what came of it.
package main

import (
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spiffe/go-spiffe/v2/bundle/jwtbundle"
	"github.com/spiffe/go-spiffe/v2/bundle/spiffebundle"
	"github.com/spiffe/go-spiffe/v2/bundle/x509bundle"
	"github.com/spiffe/go-spiffe/v2/exp/bundle/witbundle"
	"github.com/spiffe/go-spiffe/v2/exp/svid/witsvid"
	"github.com/spiffe/go-spiffe/v2/spiffeid"
	"github.com/spiffe/go-spiffe/v2/svid/jwtsvid"
	"github.com/spiffe/go-spiffe/v2/svid/x509svid"
)

type vector struct {
	ID     string          `json:"id"`
	Op     string          `json:"op"`
	Input  json.RawMessage `json:"input"`
	Output string          `json:"output"`
	Clock  bool            `json:"clock"`
	Expect struct {
		X509 int `json:"x509"`
		JWT  int `json:"jwt"`
		WIT  int `json:"wit"`
	} `json:"expect"`
}

type input struct {
	Chain      string                     `json:"chain"`
	PrivateKey string                     `json:"private_key"`
	Bundles    map[string]json.RawMessage `json:"bundles"`
	Now        int64                      `json:"now"`
	Token      string                     `json:"token"`
	Audiences  []string                   `json:"audiences"`
	Document   string                     `json:"document"`
	Repeat     *struct {
		Text  string `json:"text"`
		Times int    `json:"times"`
	} `json:"repeat"`
}

var errSkip = errors.New("skip")

func check(err error) {
	if err != nil {
		panic(err)
	}
}

func ids(v vector) error {
	var text string
	var list []string
	if json.Unmarshal(v.Input, &text) != nil {
		check(json.Unmarshal(v.Input, &list))
	}
	var id spiffeid.ID
	var err error
	switch v.Op {
	case "spiffe_id":
		_, err = spiffeid.FromString(text)
		return err
	case "trust_domain":
		_, err = spiffeid.TrustDomainFromString(text)
		return err
	case "from_segments":
		id, err = spiffeid.FromSegments(spiffeid.RequireTrustDomainFromString(list[0]), list[1:]...)
	case "from_path":
		id, err = spiffeid.FromPath(spiffeid.RequireTrustDomainFromString(list[0]), list[1])
	case "append":
		id, err = spiffeid.RequireFromString(list[0]).AppendPath(list[1])
	}
	if err == nil && id.String() != v.Output {
		return fmt.Errorf("yields %s", id)
	}
	return err
}

func x509SVID(v vector) error {
	var in input
	check(json.Unmarshal(v.Input, &in))
	chain, _ := base64.StdEncoding.DecodeString(in.Chain)
	if v.Op == "load" {
		key, _ := base64.StdEncoding.DecodeString(in.PrivateKey)
		_, err := x509svid.ParseRaw(chain, key)
		return err
	}
	certs, err := x509.ParseCertificates(chain)
	if err != nil {
		return err
	}
	bundles := x509bundle.NewSet()
	for name, raw := range in.Bundles {
		var roots []string
		check(json.Unmarshal(raw, &roots))
		bundle := x509bundle.New(spiffeid.RequireTrustDomainFromString(name))
		for _, root := range roots {
			der, _ := base64.StdEncoding.DecodeString(root)
			cert, err := x509.ParseCertificate(der)
			if err != nil {
				return err
			}
			bundle.AddX509Authority(cert)
		}
		bundles.Add(bundle)
	}
	_, _, err = x509svid.Verify(certs, bundles, x509svid.WithTime(time.Unix(in.Now, 0)))
	return err
}

func parsed(in input) ([]*spiffebundle.Bundle, error) {
	var all []*spiffebundle.Bundle
	for name, raw := range in.Bundles {
		bundle, err := spiffebundle.Parse(spiffeid.RequireTrustDomainFromString(name), raw)
		if err != nil {
			return nil, err
		}
		all = append(all, bundle)
	}
	return all, nil
}

func jwtSVID(v vector) error {
	var in input
	check(json.Unmarshal(v.Input, &in))
	bundles, err := parsed(in)
	if err != nil {
		return err
	}
	set := jwtbundle.NewSet()
	for _, bundle := range bundles {
		set.Add(bundle.JWTBundle())
	}
	_, err = jwtsvid.ParseAndValidate(in.Token, set, in.Audiences)
	return err
}

func witSVID(v vector) error {
	var in input
	check(json.Unmarshal(v.Input, &in))
	if v.Op != "verify" {
		return errSkip
	}
	bundles, err := parsed(in)
	if err != nil {
		return err
	}
	set := witbundle.NewSet()
	for _, bundle := range bundles {
		set.Add(bundle.WITBundle())
	}
	_, err = witsvid.ParseAndValidate(in.Token, set)
	return err
}

func bundle(v vector) error {
	var in input
	check(json.Unmarshal(v.Input, &in))
	document := in.Document
	if in.Repeat != nil {
		document = strings.ReplaceAll(document, "@REPEAT@", strings.Repeat(in.Repeat.Text, in.Repeat.Times))
	}
	b, err := spiffebundle.Parse(spiffeid.RequireTrustDomainFromString("example.org"), []byte(document))
	if err != nil {
		return err
	}
	got := [3]int{len(b.X509Authorities()), len(b.JWTAuthorities()), len(b.WITAuthorities())}
	if want := [3]int{v.Expect.X509, v.Expect.JWT, v.Expect.WIT}; got != want {
		return fmt.Errorf("loads x%dj%dw%d", got[0], got[1], got[2])
	}
	return nil
}

func main() {
	kinds := map[string]func(vector) error{
		"ids": ids, "x509_svid": x509SVID, "jwt_svid": jwtSVID, "bundle": bundle, "wit_svid": witSVID,
	}
	for kind, judge := range kinds {
		data, err := os.ReadFile(filepath.Join(os.Args[1], kind+".json"))
		check(err)
		var file struct{ Vectors []vector }
		check(json.Unmarshal(data, &file))
		for _, v := range file.Vectors {
			outcome := "accept"
			func() {
				defer func() {
					if p := recover(); p != nil {
						outcome = fmt.Sprint("panic ", p)
					}
				}()
				if v.Clock {
					outcome = "skip"
				} else if err := judge(v); err == errSkip {
					outcome = "skip"
				} else if err != nil {
					outcome = "reject " + strings.ReplaceAll(err.Error(), "\n", " ")
				}
			}()
			fmt.Println(v.ID, outcome)
		}
	}
}
