package contract

import (
	"os"
	"path/filepath"

	"golang.org/x/sys/unix"
)

// PageSize is how much memory a Page is, in bytes.
const PageSize = 4096

// Page is memory that the processes of a row share by a file's name.
func Page(a Args, name string) ([]byte, error) {
	f, err := os.OpenFile(filepath.Join(a.Dir, name), os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, err
	}
	defer f.Close()
	if err := f.Truncate(PageSize); err != nil {
		return nil, err
	}
	return unix.Mmap(int(f.Fd()), 0, PageSize, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_SHARED)
}
