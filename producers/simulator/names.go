package simulator

import "strconv"

var (
	titleAdjectives = []string{
		"Silent", "Paper", "Crooked", "Last", "Golden", "Hollow", "Winter", "Electric", "Borrowed",
		"Distant", "Velvet", "Broken", "Northern", "Hidden", "Restless",
		"Scarlet", "Forgotten", "Gentle", "Burning", "Second", "Midnight", "Honest", "Lonely",
		"Wandering", "Glass", "Iron", "Tender", "Savage", "Quiet", "Impossible",
	}
	titleNouns = []string{
		"Harbour", "Machine", "Orchard", "Witness", "Carnival", "Garden", "Signal", "Kingdom",
		"Letter", "Mountain", "Dancer", "River", "Promise", "Shadow", "Engine",
		"Lighthouse", "Stranger", "Bridge", "Summer", "Clockmaker", "Island", "Symphony",
		"Detective", "Voyage", "Mirror", "Frontier", "Heist", "Cathedral", "Comet", "Astronaut",
	}
	titlePlaces = []string{
		"Tallinn", "the Valley", "Oran", "the Deep", "Lisbon", "Saturn", "the North", "Rue Morel",
		"Nagano", "the Plains", "Cork", "Old Town",
	}
	firstNames = []string{
		"Ida", "Tom", "Lena", "Omar", "Mira", "Jonas", "Aiko", "Pavel", "Nadia", "Felix", "Rosa",
		"Henrik", "Leila", "Marco", "Ines", "Tariq", "Vera", "Elias", "Noor", "Hugo",
		"Sanna", "Kofi", "Dora", "Iven", "Paloma", "Rune", "Yara", "Anton", "Celia", "Mateo",
	}
	lastNames = []string{
		"Marsh", "Oake", "Fry", "Haddad", "Sol", "Lindqvist", "Mori", "Novak", "Rahman", "Brandt",
		"Delgado", "Vik", "Karimi", "Bellini", "Duarte", "Aziz", "Sokol", "Thorne",
		"Bakker", "Moreau", "Aalto", "Mensah", "Kiss", "Petrov", "Reyes", "Dahl", "Nasser", "Weiss",
		"Quint", "Salas",
	}
)

// title makes up a title that no film of the world has yet.
func (w *world) title() string {
	noun := titleNouns[w.rng.IntN(len(titleNouns))]
	var t string
	switch w.rng.IntN(4) {
	case 0:
		t = "The " + noun + " of " + titlePlaces[w.rng.IntN(len(titlePlaces))]
	case 1:
		t = titleAdjectives[w.rng.IntN(len(titleAdjectives))] + " " + noun
	default:
		t = "The " + titleAdjectives[w.rng.IntN(len(titleAdjectives))] + " " + noun
	}
	for n, base := 2, t; w.titles[t]; n++ {
		t = base + " " + strconv.Itoa(n)
	}
	w.titles[t] = true
	return t
}

// name makes up the name of a person that no other person of the world has.
func (w *world) name() string {
	first := firstNames[w.rng.IntN(len(firstNames))]
	last := lastNames[w.rng.IntN(len(lastNames))]
	t := first + " " + last
	for n := 0; w.titles[t]; n++ {
		t = first + " " + string(rune('A'+n%26)) + ". " + last
		if n >= 26 {
			t = first + " " + last + " " + strconv.Itoa(n)
		}
	}
	w.titles[t] = true
	return t
}
