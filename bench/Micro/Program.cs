using BenchmarkDotNet.Running;

BenchmarkSwitcher.FromAssembly(typeof(Vhost.Bench.Micro.RingBenchmarks).Assembly).Run(args);
