package main

func Example() {
	main()
	// Output:
	// 2
	// 4
	// 6
	// 2
	// 4
	// 6
}
