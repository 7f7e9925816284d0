//! Policies, recorded traffic, labelled scenarios and hostile inputs, as data and a loader
