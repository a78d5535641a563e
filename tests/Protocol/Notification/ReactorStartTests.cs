using System.Reflection;
using System.Runtime.Loader;
using Vhost.Tests.Support;

namespace Vhost.Protocol.Tests;

[Collection(ProcessCounts.Name)]
public sealed class ReactorStartTests
{
    /// <summary>There is one for the process, which this process has already; so a copy of the library is looked at that was never used.</summary>
    [Fact]
    public void B09_a_process_that_has_no_descriptor_left_when_it_waits_first_can_wait_later()
    {
        Assembly fresh = new AssemblyLoadContext("unused library").LoadFromAssemblyPath(typeof(Reactor).Assembly.Location);
        (Activator.CreateInstance(fresh.GetType(typeof(EventNotifier).FullName!, throwOnError: true)!) as IDisposable)!.Dispose(); // what is opened once
        MethodInfo shared = fresh.GetType(typeof(Reactor).FullName!, throwOnError: true)!
            .GetProperty(nameof(Reactor.Shared), BindingFlags.Static | BindingFlags.NonPublic)!.GetMethod!;
        Exception? failure;
        using (DescriptorLimit.Leaving(0))
            failure = Record.Exception(() => shared.Invoke(null, null));
        failure.Should().BeOfType<TargetInvocationException>().Which.InnerException!.Message.Should().Contain("EMFILE");
        shared.Invoke(null, null).Should().NotBeNull();
    }
}
