"""Stochastic control: systems, policies that look one step ahead through a layer, rollouts, bounds."""
