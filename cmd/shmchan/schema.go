package main

// shmchan schema: what a channel's values look like.

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"reflect"
	"text/tabwriter"

	"github.com/shmchan/shmchan"
	"github.com/shmchan/shmchan/cmd/shmchan/internal/values"
	"github.com/spf13/cobra"
)

func newSchema(w *where) *cobra.Command {
	var asGo, asJSON bool
	cmd := &cobra.Command{
		Use:   "schema NAME",
		Short: "Show the layout of a channel's values",
		Long: "Shows the layout of a channel's values: a table of its fields, in bytes, with --go as a Go\n" +
			"type that has the same layout, so that a program with it can open the channel, or with --json.",
		Example:           "  shmchan schema --go ticks\n  shmchan schema --json ticks",
		Args:              exactlyOneName,
		ValidArgsFunction: completeChannels(w, 1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if asGo && asJSON {
				return errors.New("--go and --json exclude each other")
			}
			return schema(cmd.OutOrStdout(), w, args[0], asGo, asJSON)
		},
	}
	cmd.Flags().BoolVar(&asGo, "go", false, "as a Go type")
	cmd.Flags().BoolVar(&asJSON, "json", false, "as JSON")
	return cmd
}

// jsonField is a field as --json shows it.
type jsonField struct {
	Name   string      `json:"name,omitempty"`
	Path   string      `json:"path"`
	Kind   string      `json:"kind"`
	Offset int         `json:"offset"`
	Size   int         `json:"size"`
	Align  int         `json:"align"`
	Len    *int        `json:"len,omitempty"`
	Elem   *jsonField  `json:"elem,omitempty"`
	Fields []jsonField `json:"fields,omitempty"`
}

func jsonOf(f *shmchan.Field) jsonField {
	j := jsonField{Name: f.Name, Path: f.Path, Kind: f.Kind.String(), Offset: f.Offset, Size: f.Size, Align: f.Align}
	switch f.Kind {
	case reflect.Slice:
		j.Kind = "bytes"
	case reflect.Array:
		j.Len = &f.Len
		if f.Elem != nil {
			e := jsonOf(f.Elem)
			j.Elem = &e
		}
	}
	for i := range f.Fields {
		j.Fields = append(j.Fields, jsonOf(&f.Fields[i]))
	}
	return j
}

func schema(out io.Writer, w *where, name string, asGo, asJSON bool) error {
	info, err := shmchan.Inspect(name, w.options()...)
	if err != nil {
		return fail(err)
	}
	l, err := shmchan.ParseLayout(info.Layout)
	if err != nil {
		return fail(fmt.Errorf("shmchan: channel %q: %w", name, err))
	}
	switch {
	case asGo:
		text, err := values.GoType(info.Type, l)
		if err != nil {
			return fail(err)
		}
		_, err = io.WriteString(out, text)
		return err
	case asJSON:
		e := json.NewEncoder(out)
		e.SetIndent("", "  ")
		return e.Encode(struct {
			Type       string    `json:"type"`
			MaxMessage int       `json:"max_message,omitempty"`
			Layout     jsonField `json:"layout"`
		}{info.Type, info.MaxMessage, jsonOf(&l.Root)})
	}
	t := tabwriter.NewWriter(out, 0, 0, 2, ' ', 0)
	fmt.Fprintf(t, "%s, %s\n\n", typeOf(info), sizeOf(info))
	showFields(t, fieldsOf(info.Layout))
	return t.Flush()
}
