package kube

func (i *Installation) gateways(*facts) {}
