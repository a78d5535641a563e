using System.Text;
using Vhost.Protocol;

namespace Vhost.Conformance;

/// <summary>A console: the work is to print a line, on the second ring.</summary>
internal sealed class ConsoleModel : DeviceModel
{
    public override string Name => "console";

    public override int Rings => 2;

    public override int WorkRing => 1;

    // cols and rows, max_nr_ports, emerg_wr
    public override int LeastConfiguration(VirtioFeatures features) => LastEnd(features, 0, (0, 4), (1, 8), (2, 12));

    public override Work NewWork(CaseMemory memory) => NewWorkOf(memory, 1)!;

    public override Work? NewWorkOf(CaseMemory memory, int buffers)
    {
        byte[] line = Encoding.ASCII.GetBytes("conformance".PadRight(buffers, '.') + "\n");
        ulong at = memory.Allocate(line.Length);
        memory.WriteBytes(at, line);
        return new(Cut(at, line.Length, buffers, false), static _ => { }) { Written = 0 };
    }
}
