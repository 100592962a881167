//go:build programs

// Package programs names what is compiled here, so that go.mod holds it.
package programs

import (
	_ "github.com/moby/buildkit/cmd/buildctl"
	_ "github.com/moby/buildkit/cmd/buildkitd"
)
