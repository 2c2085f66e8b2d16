package main

// Finding toolchains, and building what they can.

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
)

// program is what a peer is run by.
type program struct {
	name  string
	needs []string // commands that building or running takes
	how   string   // to get them, if that is not obvious
	long  bool     // takes long to build: not for -quick
	build func(ctx context.Context, b *builder) (command []string, err error)

	command []string
	missing error // why it cannot run
}

// builder knows where the sources are and where to build.
type builder struct {
	src string // the directory bench
	dir string // the cache
}

// howToGet says what Debian calls it.
var howToGet = map[string]string{
	"gcc": "apt-get install gcc libc6-dev", "g++": "apt-get install g++",
	"cargo": "install Rust with cargo (rustc 1.89 or later)", "mvn": "apt-get install maven", "javac": "apt-get install default-jdk-headless",
	"java": "apt-get install default-jre-headless", "python3": "apt-get install python3",
}

// make builds the program. What is missing is not an error but a reason.
func (p *program) make(ctx context.Context, b *builder) {
	for _, need := range p.needs {
		if _, err := exec.LookPath(need); err != nil {
			p.missing = fmt.Errorf("needs %s: %s", need, howToGet[need])
			return
		}
	}
	if p.command, p.missing = p.build(ctx, b); p.missing != nil && p.how != "" {
		p.missing = fmt.Errorf("%w (%s)", p.missing, p.how)
	}
}

// command runs a build step.
func (b *builder) command(ctx context.Context, dir string, env []string, words ...string) error {
	cmd := exec.CommandContext(ctx, words[0], words[1:]...)
	cmd.Dir = dir
	cmd.Env = append(os.Environ(), env...)
	out, err := cmd.CombinedOutput()
	if err != nil {
		return fmt.Errorf("%s: %w: %s", strings.Join(words, " "), err, lastLines(string(out), 3))
	}
	return nil
}

func lastLines(s string, n int) string {
	lines := strings.Split(strings.TrimSpace(s), "\n")
	return strings.Join(lines[max(0, len(lines)-n):], "; ")
}

func goProgram(name string) *program {
	return &program{name: name, needs: []string{"go"}, build: func(ctx context.Context, b *builder) ([]string, error) {
		to := filepath.Join(b.dir, name)
		return []string{to}, b.command(ctx, b.src, nil, "go", "build", "-o", to, "./peers/"+name)
	}}
}

// once builds something whose name tells what it was built from, unless it is there.
func (b *builder) once(name, from string, words []string, build func(to string) error) (string, error) {
	sum := sha256.New()
	fmt.Fprintln(sum, words)
	err := filepath.WalkDir(from, func(path string, d fs.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		text, err := os.ReadFile(path)
		fmt.Fprintln(sum, path, len(text))
		_, _ = sum.Write(text)
		return err
	})
	if err != nil {
		return "", err
	}
	to := filepath.Join(b.dir, name+"-"+hex.EncodeToString(sum.Sum(nil)[:8]))
	if _, err := os.Stat(to); !errors.Is(err, fs.ErrNotExist) {
		return to, err
	}
	fresh := to + ".new"
	if err := os.RemoveAll(fresh); err != nil {
		return "", err
	}
	if err := build(fresh); err != nil {
		return "", err
	}
	return to, os.Rename(fresh, to)
}

// buildC compiles one file of peers/c, whose name says which language it is in.
//
// No -march=native: Go's compiler has no such thing, and the C library picks its memcpy
// by itself. No vectors in loops, for the reason that floor.c gives.
func buildC(file string, libraries ...string) func(context.Context, *builder) ([]string, error) {
	return func(ctx context.Context, b *builder) ([]string, error) {
		words := []string{"gcc", "-std=gnu11"}
		if strings.HasSuffix(file, ".cpp") {
			words = []string{"g++", "-std=gnu++17"}
		}
		words = append(words, "-O3", "-fno-tree-vectorize", "-Wall", "-Wextra", "-pthread")
		words = append(words, libraries...)
		from := filepath.Join(b.src, "peers", "c")
		name, _, _ := strings.Cut(file, ".")
		to, err := b.once(name, from, words, func(to string) error {
			all := append([]string{words[0], filepath.Join(from, file), "-o", to}, words[1:]...)
			return b.command(ctx, b.src, nil, all...)
		})
		return []string{to}, err
	}
}

// buildRust compiles one package of peers/rust.
func buildRust(name string) func(context.Context, *builder) ([]string, error) {
	return func(ctx context.Context, b *builder) ([]string, error) {
		from := filepath.Join(b.src, "peers", "rust")
		to, err := b.once(name, from, nil, func(to string) error {
			target := filepath.Join(b.dir, "cargo")
			env := []string{"CARGO_TARGET_DIR=" + target}
			if err := b.command(ctx, from, env, "cargo", "build", "--release", "--locked", "-p", name); err != nil {
				return err
			}
			return os.Rename(filepath.Join(target, "release", name), to)
		})
		return []string{to}, err
	}
}

// buildAeron gets the jar that the POM names and compiles the peer with it.
func buildAeron(ctx context.Context, b *builder) ([]string, error) {
	from := filepath.Join(b.src, "peers", "aeron")
	to, err := b.once("aeron", from, nil, func(to string) error {
		jars := filepath.Join(to, "jars")
		err := b.command(ctx, from, nil, "mvn", "--batch-mode", "-q", "-f", filepath.Join(from, "pom.xml"),
			"dependency:copy-dependencies", "-DoutputDirectory="+jars)
		if err != nil {
			return err
		}
		return b.command(ctx, from, nil, "javac", "-d", to, "-cp", filepath.Join(jars, "*"), "AeronPeer.java")
	})
	classes := to + string(filepath.ListSeparator) + filepath.Join(to, "jars", "*")
	return []string{
		"java", "--add-opens=java.base/jdk.internal.misc=ALL-UNNAMED", "--add-opens=java.base/sun.nio.ch=ALL-UNNAMED",
		"-XX:-UsePerfData", "-cp", classes, "AeronPeer",
	}, err
}

// runPython needs no build.
func runPython(file string) func(context.Context, *builder) ([]string, error) {
	return func(_ context.Context, b *builder) ([]string, error) {
		return []string{"python3", filepath.Join(b.src, "peers", "python", file)}, nil
	}
}
