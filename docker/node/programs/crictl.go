package main

import (
	"context"
	"encoding/json"
	"fmt"
	"os"
	"strings"
	"time"

	runtimeapi "k8s.io/cri-api/pkg/apis/runtime/v1"
	criclient "k8s.io/cri-client/pkg"
)

const containerd = "unix:///run/containerd/containerd.sock"

// crictl has the two commands that kind and devenv run in a node: inspecti, which tells whether an image is
// there already, and images, for kind export logs. Options make no difference.
func crictl() error {
	var words []string
	for _, word := range os.Args[1:] {
		if !strings.HasPrefix(word, "-") {
			words = append(words, word)
		}
	}
	if len(words) == 0 {
		return fmt.Errorf("crictl inspecti IMAGE... or crictl images")
	}
	ctx := context.Background()
	service, err := criclient.NewRemoteImageService(containerd, 5*time.Second, nil, nil)
	if err != nil {
		return err
	}
	switch words[0] {
	case "inspecti":
		for _, name := range words[1:] {
			found, err := service.ImageStatus(ctx, &runtimeapi.ImageSpec{Image: name}, false)
			if err != nil {
				return err
			}
			if found.Image == nil {
				return fmt.Errorf("no such image %q present", name)
			}
			status := map[string]any{
				"id":          found.Image.Id,
				"repoTags":    found.Image.RepoTags,
				"repoDigests": found.Image.RepoDigests,
				"size":        fmt.Sprint(found.Image.Size),
			}
			if err := json.NewEncoder(os.Stdout).Encode(map[string]any{"status": status}); err != nil {
				return err
			}
		}
	case "images":
		all, err := service.ListImages(ctx, nil)
		if err != nil {
			return err
		}
		for _, image := range all {
			fmt.Println(image.Id, image.Size, image.RepoTags)
		}
	default:
		return fmt.Errorf("crictl: %q is neither inspecti nor images", words[0])
	}
	return nil
}
