// Many of these tests start processes that poll; run side by side on two processors they would measure each other's patience.
[assembly: CollectionBehavior(DisableTestParallelization = true)]
