using System.Diagnostics;

namespace Vhost.Tool;

/// <summary>
/// Measures what serving costs without knowing when the other side measures: every twentieth of a second requests and allocated bytes are noted. At the end
/// those intervals count that served at least a tenth of the requests of the busiest one, without the first quarter of them (warm-up) and the last one
/// (the front-end may already be leaving).
/// </summary>
internal sealed class TrafficSampler : IDisposable
{
    private const int MostSamples = 1 << 14;
    private const int IntervalMilliseconds = 50;

    private readonly Sample[] _samples = new Sample[MostSamples];
    private readonly ManualResetEvent _stop = new(false);
    private readonly Func<long> _served;
    private readonly Thread _thread;
    private int _count;
    private int _stride = 1;

    /// <param name="served">Requests that were answered so far.</param>
    internal TrafficSampler(Func<long> served)
    {
        _served = served;
        _thread = new Thread(Run) { IsBackground = true, Name = "traffic sampler" };
    }

    internal void Start() => _thread.Start();

    /// <summary>Ends sampling and returns the measured intervals; all zero when there were none.</summary>
    internal TrafficFigures Stop()
    {
        _stop.Set();
        _thread.Join();
        Note(); // on a busy machine the last look may be long ago
        return TrafficFigures.From(_samples.AsSpan(0, _count));
    }

    public void Dispose() => _stop.Dispose();

    private void Run()
    {
        Note();
        while (!_stop.WaitOne(IntervalMilliseconds * _stride))
            Note();
    }

    private void Note()
    {
        if (_count == MostSamples)
            Thin();
        _samples[_count++] = new Sample(Stopwatch.GetTimestamp(), _served(), GC.GetTotalAllocatedBytes(precise: true));
    }

    /// <summary>A server that runs for days keeps the same number of samples, further apart.</summary>
    private void Thin()
    {
        _count = MostSamples / 2;
        for (int i = 0; i < _count; i++)
            _samples[i] = _samples[2 * i];
        _stride *= 2;
    }

    internal readonly record struct Sample(long Timestamp, long Requests, long Allocated);
}

/// <summary>Intervals of steady traffic, summed up.</summary>
/// <param name="Requests">Their requests.</param>
/// <param name="Seconds">How long they took.</param>
/// <param name="Allocated">Bytes that the process allocated in them.</param>
/// <param name="AllocatedPerRequest">Bytes for each request in the median of them.</param>
internal readonly record struct TrafficFigures(long Requests, double Seconds, long Allocated, decimal AllocatedPerRequest)
{
    internal static TrafficFigures From(ReadOnlySpan<TrafficSampler.Sample> samples)
    {
        double busiest = 0;
        for (int i = 1; i < samples.Length; i++)
            busiest = Math.Max(busiest, Rate(samples, i));
        List<int> busy = new();
        for (int i = 1; i < samples.Length && busiest > 0; i++)
        {
            if (Rate(samples, i) >= busiest / 10)
                busy.Add(i);
        }

        // Of few intervals none is given away at the end, and a single one counts, warm-up and all.
        int end = busy.Count >= 4 ? busy.Count - 1 : busy.Count;
        TrafficFigures sum = default;
        AllocationSteps steps = new(busy.Count);
        for (int i = busy.Count > 1 ? (busy.Count + 3) / 4 : 0; i < end; i++)
        {
            TrafficSampler.Sample from = samples[busy[i] - 1];
            TrafficSampler.Sample to = samples[busy[i]];
            sum = sum.Plus(from, to);
            steps.Add(to.Allocated - from.Allocated, to.Requests - from.Requests);
        }

        return sum with { AllocatedPerRequest = steps.PerOperation };
    }

    private TrafficFigures Plus(in TrafficSampler.Sample from, in TrafficSampler.Sample to) => new(
        Requests + to.Requests - from.Requests,
        Seconds + Stopwatch.GetElapsedTime(from.Timestamp, to.Timestamp).TotalSeconds,
        Allocated + to.Allocated - from.Allocated,
        AllocatedPerRequest);

    private static double Rate(ReadOnlySpan<TrafficSampler.Sample> samples, int i) =>
        (samples[i].Requests - samples[i - 1].Requests) / Math.Max(1.0, samples[i].Timestamp - samples[i - 1].Timestamp);
}
