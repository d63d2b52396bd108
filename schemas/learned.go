package schemas

// The kinds of what embed and catalog tell each other. Their values are binary: package model
// writes and reads them.
const (
	KindGradientsSummed   Kind = "gradients.summed.v1"
	KindItemVectorUpdated Kind = "item_vector.updated.v1"
)

func gradientsSummed() definition {
	return definition{kind: KindGradientsSummed, topics: []string{TopicItemGradients}}
}

func itemVectorUpdated() definition {
	return definition{kind: KindItemVectorUpdated, topics: []string{TopicItemVectors}}
}
