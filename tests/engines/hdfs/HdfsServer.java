import java.io.File;
import org.apache.hadoop.conf.Configuration;
import org.apache.hadoop.hdfs.MiniDFSCluster;

/** One name node and one data node: `java -cp "jars/*" HdfsServer.java FOLDER WEBHDFS_PORT`. */
public class HdfsServer {
  public static void main(String[] args) throws Exception {
    MiniDFSCluster cluster =
        new MiniDFSCluster.Builder(new Configuration(), new File(args[0]))
            .nameNodeHttpPort(Integer.parseInt(args[1]))
            .build();
    cluster.waitActive();
    System.out.println("READY");
    Thread.sleep(Long.MAX_VALUE);
  }
}
